/* Buys when the fast moving average of the price crosses above the slow one, sells when it crosses below.
 *
 * The averages are exponential: e = k * p + (1 - k) * e with k = 2 / (n + 1), starting at the first price. A
 * crossing at the price number `slow` or later gives one market order of `quantity` lots. The price is the last
 * trade, or the middle of the quote when a tick carries no trade.
 *
 * ema_cross.h is generated from world.wit. It declares what the strategy may call (ringfence_strategy_...) and
 * what it has to define (exports_ringfence_strategy_...). A function with a result returns true for ok and false
 * for the error: the host then drops the orders of the call and goes on with the same instance. abort() ends the
 * instance.
 *
 * Whoever is handed a string or a list owns it: arguments are freed here with the generated ..._free, and what
 * is returned is freed by the generated code after the host has read it. So everything returned is allocated. */

#include "ema_cross.h"

#include <stdlib.h>
#include <string.h>

#define INSTRUMENTS_MAX 64
#define STATE_SCHEMA 1
/* Little-endian, without padding: the layout of every ema-cross here, so that one can replace another. */
#define HEADER_BYTES 12
#define AVERAGES_BYTES 25

typedef ringfence_strategy_types_fault_t fault_t;

/* A setting: its lowest and highest value and its default. The schema below says the same to the host. */
struct setting {
  const char *key;
  int64_t low, high, value;
};

struct averages {
  /* The instrument's price step, as its digits and the power of ten below them. */
  double step, divisor;
  uint64_t count;
  double fast, slow;
  bool above;
};

/* The host makes one instance per agent and calls it from one thread, so globals are the instance's memory. */
static bool started;
static uint32_t fast, slow;
static double fast_weight, slow_weight;
static int64_t quantity;
static uint64_t next_order_id;
static size_t instrument_count;
static struct averages instruments[INSTRUMENTS_MAX];

static const char SCHEMA[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"fast\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100000,"
    "\"description\":\"prices of the fast average\",\"default\":10},"
    "\"slow\":{\"type\":\"integer\",\"minimum\":2,\"maximum\":100000,"
    "\"description\":\"prices of the slow average\",\"default\":20},"
    "\"quantity\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000,"
    "\"description\":\"lots of each order\",\"default\":1}},\"required\":[]}";

/* Words about what is wrong, with room for a few names and numbers. */
struct words {
  char text[160];
  size_t length;
};

static void say(struct words *words, const char *text) {
  while (*text && words->length + 1 < sizeof words->text) words->text[words->length++] = *text++;
  words->text[words->length] = 0;
}

static void say_number(struct words *words, uint64_t number) {
  char digits[21];
  char *at = digits + sizeof digits - 1;
  *at = 0;
  do *--at = (char)('0' + number % 10);
  while (number /= 10);
  say(words, at);
}

/* Makes `fault` the case `tag` with these words. Always false, to be returned at once. */
static bool refuse(fault_t *fault, uint8_t tag, const struct words *words) {
  fault->tag = tag;
  /* The cases with words all hold one string, in the same place. */
  ema_cross_string_dup(&fault->val.internal, words->text);
  return false;
}

static bool refuse_state(fault_t *fault, const char *expected, uint64_t number, const char *unit, uint64_t found) {
  struct words words = {0};
  say(&words, expected);
  say_number(&words, number);
  say(&words, unit);
  say(&words, ", found ");
  say_number(&words, found);
  return refuse(fault, RINGFENCE_STRATEGY_TYPES_FAULT_INCOMPATIBLE_STATE, &words);
}

static bool not_ready(fault_t *fault) {
  fault->tag = RINGFENCE_STRATEGY_TYPES_FAULT_NOT_READY;
  return false;
}

static bool is(ema_cross_string_t text, const char *word) {
  return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

/* The price of a number of ticks. Rounds once, in the division: the product is exact below 2^53. */
static double price_of(const struct averages *instrument, int64_t ticks) {
  return (double)ticks * instrument->step / instrument->divisor;
}

/* The price that a tick shows, or zero, which means absent. */
static double last_or_middle(const struct averages *instrument, const ringfence_strategy_types_tick_t *tick) {
  if (tick->last_price > 0) return price_of(instrument, tick->last_price);
  if (tick->bid_price > 0 && tick->ask_price > 0)
    return (price_of(instrument, tick->bid_price) + price_of(instrument, tick->ask_price)) / 2.0;
  return 0.0;
}

/* Takes in one price and says whether the averages crossed; `above` then says which way. */
static bool update(struct averages *it, double price) {
  if (it->count == 0) {
    it->fast = it->slow = price;
  } else {
    it->fast = fast_weight * price + (1.0 - fast_weight) * it->fast;
    it->slow = slow_weight * price + (1.0 - slow_weight) * it->slow;
  }
  it->count++;
  bool above = it->fast > it->slow;
  bool crossed = it->count >= slow && above != it->above;
  it->above = above;
  return crossed;
}

void exports_ringfence_strategy_strategy_describe(ringfence_strategy_types_metadata_t *ret) {
  *ret = (ringfence_strategy_types_metadata_t){
      .state_schema = STATE_SCHEMA,
      .oldest_loadable_state = STATE_SCHEMA,
      .needs = {.instruments_min = 1, .instruments_max = INSTRUMENTS_MAX, .trades = true, .quotes = true},
  };
  ema_cross_string_dup(&ret->name, "ema-cross-c");
  ema_cross_string_dup(&ret->version, "0.1.0");
  ema_cross_string_dup(&ret->summary, "a market order at each crossing of two averages");
  ema_cross_string_dup(&ret->settings_schema, SCHEMA);
}

/* Reads the settings into `known`. */
static bool read_settings(const ringfence_strategy_types_list_setting_t *given, struct setting *known, size_t count,
                          fault_t *fault) {
  for (size_t i = 0; i < given->len; i++) {
    const ringfence_strategy_types_setting_t *setting = &given->ptr[i];
    size_t at = 0;
    while (at < count && !is(setting->key, known[at].key)) at++;
    struct words words = {0};
    if (at == count) {
      say(&words, "expected the settings");
      for (at = 0; at < count; at++) {
        say(&words, at == 0 ? " " : ", ");
        say(&words, known[at].key);
      }
      say(&words, ", found another");
      return refuse(fault, RINGFENCE_STRATEGY_TYPES_FAULT_INVALID_SETTINGS, &words);
    }
    int64_t value = setting->value.val.integer;
    if (setting->value.tag != RINGFENCE_STRATEGY_TYPES_SETTING_VALUE_INTEGER || value < known[at].low ||
        value > known[at].high) {
      say(&words, known[at].key);
      say(&words, ": expected a whole number from ");
      say_number(&words, (uint64_t)known[at].low);
      say(&words, " to ");
      say_number(&words, (uint64_t)known[at].high);
      return refuse(fault, RINGFENCE_STRATEGY_TYPES_FAULT_INVALID_SETTINGS, &words);
    }
    known[at].value = value;
  }
  return true;
}

static bool start(const ringfence_strategy_types_session_t *session, fault_t *fault) {
  struct setting known[] = {{"fast", 1, 100000, 10}, {"slow", 2, 100000, 20}, {"quantity", 1, 1000000000, 1}};
  if (!read_settings(&session->settings, known, sizeof known / sizeof *known, fault)) return false;
  struct words words = {0};
  if (known[0].value >= known[1].value) {
    say(&words, "expected fast below slow, found fast ");
    say_number(&words, (uint64_t)known[0].value);
    say(&words, " and slow ");
    say_number(&words, (uint64_t)known[1].value);
    return refuse(fault, RINGFENCE_STRATEGY_TYPES_FAULT_INVALID_SETTINGS, &words);
  }
  if (session->instruments.len > INSTRUMENTS_MAX) {
    say(&words, "more instruments than describe asks for");
    return refuse(fault, RINGFENCE_STRATEGY_TYPES_FAULT_INTERNAL, &words);
  }
  fast = (uint32_t)known[0].value;
  slow = (uint32_t)known[1].value;
  quantity = known[2].value;
  fast_weight = 2.0 / ((double)fast + 1.0);
  slow_weight = 2.0 / ((double)slow + 1.0);
  next_order_id = session->next_order_id;
  instrument_count = session->instruments.len;
  for (size_t i = 0; i < instrument_count; i++) {
    ringfence_strategy_types_decimal_t step = session->instruments.ptr[i].tick_size;
    double divisor = 1.0;
    for (uint8_t digit = 0; digit < step.scale; digit++) divisor *= 10.0;
    instruments[i] = (struct averages){.step = (double)step.coefficient, .divisor = divisor};
  }
  return started = true;
}

bool exports_ringfence_strategy_strategy_init(ringfence_strategy_types_session_t *session, fault_t *err) {
  started = false;
  bool done = start(session, err);
  ringfence_strategy_types_session_free(session);
  return done;
}

bool exports_ringfence_strategy_strategy_strategy_tick(ringfence_strategy_types_tick_t *tick,
                                                       ringfence_strategy_types_tick_context_t *context,
                                                       exports_ringfence_strategy_strategy_list_order_intent_t *ret,
                                                       fault_t *err) {
  (void)context;
  if (!started) return not_ready(err);
  if (tick->instrument >= instrument_count) {
    struct words words = {0};
    say(&words, "a tick of an unknown instrument, ");
    say_number(&words, tick->instrument);
    return refuse(err, RINGFENCE_STRATEGY_TYPES_FAULT_INTERNAL, &words);
  }
  *ret = (exports_ringfence_strategy_strategy_list_order_intent_t){0};
  struct averages *instrument = &instruments[tick->instrument];
  double price = last_or_middle(instrument, tick);
  if (price <= 0.0 || !update(instrument, price)) return true;
  ringfence_strategy_types_order_intent_t *intent = calloc(1, sizeof *intent);
  intent->tag = RINGFENCE_STRATEGY_TYPES_ORDER_INTENT_SUBMIT;
  intent->val.submit = (ringfence_strategy_types_new_order_t){
      .id = next_order_id++,
      .instrument = tick->instrument,
      .side = instrument->above ? RINGFENCE_STRATEGY_TYPES_SIDE_BUY : RINGFENCE_STRATEGY_TYPES_SIDE_SELL,
      .quantity = quantity,
      .kind = {.tag = RINGFENCE_STRATEGY_TYPES_ORDER_KIND_MARKET},
      .tif = {.tag = RINGFENCE_STRATEGY_TYPES_TIME_IN_FORCE_GTC},
  };
  ret->ptr = intent;
  ret->len = 1;
  return true;
}

bool exports_ringfence_strategy_strategy_on_event(ringfence_strategy_types_event_t *event,
                                                  ringfence_strategy_types_tick_context_t *context,
                                                  exports_ringfence_strategy_strategy_list_order_intent_t *ret, fault_t *err) {
  (void)context;
  ringfence_strategy_types_event_free(event);
  if (!started) return not_ready(err);
  *ret = (exports_ringfence_strategy_strategy_list_order_intent_t){0};
  return true;
}

void exports_ringfence_strategy_strategy_stop(exports_ringfence_strategy_strategy_list_order_intent_t *ret) {
  *ret = (exports_ringfence_strategy_strategy_list_order_intent_t){0};
}

/* WebAssembly is little-endian and takes unaligned accesses, so a copy of the bytes is all there is to it. */
static uint8_t *put(uint8_t *at, const void *value, size_t size) {
  memcpy(at, value, size);
  return at + size;
}

static const uint8_t *take(const uint8_t *at, void *value, size_t size) {
  memcpy(value, at, size);
  return at + size;
}

bool exports_ringfence_strategy_state_save(exports_ringfence_strategy_state_snapshot_t *ret, fault_t *err) {
  if (!started) return not_ready(err);
  uint32_t count = (uint32_t)instrument_count;
  ret->schema = STATE_SCHEMA;
  ret->data.len = HEADER_BYTES + AVERAGES_BYTES * instrument_count;
  ret->data.ptr = malloc(ret->data.len);
  uint8_t *at = put(ret->data.ptr, &fast, 4);
  at = put(at, &slow, 4);
  at = put(at, &count, 4);
  for (size_t i = 0; i < instrument_count; i++) {
    uint8_t above = instruments[i].above;
    at = put(at, &instruments[i].count, 8);
    at = put(at, &instruments[i].fast, 8);
    at = put(at, &instruments[i].slow, 8);
    at = put(at, &above, 1);
  }
  return true;
}

static bool load(uint32_t schema, const uint8_t *data, size_t length, fault_t *err) {
  if (!started) return not_ready(err);
  if (schema != STATE_SCHEMA) return refuse_state(err, "expected state of schema ", STATE_SCHEMA, "", schema);
  if (length < HEADER_BYTES) return refuse_state(err, "expected at least ", HEADER_BYTES, " bytes", length);
  uint32_t saved_fast, saved_slow, count;
  const uint8_t *at = take(take(take(data, &saved_fast, 4), &saved_slow, 4), &count, 4);
  if (saved_fast != fast || saved_slow != slow) {
    /* Averages of other lengths would be wrong for a long time; fresh ones are right after `slow` prices. */
    struct words words = {0};
    say(&words, "averages start anew: saved ones are of ");
    say_number(&words, saved_fast);
    say(&words, " and ");
    say_number(&words, saved_slow);
    say(&words, " prices");
    ema_cross_string_t line;
    ema_cross_string_set(&line, words.text);
    ringfence_strategy_log_write(RINGFENCE_STRATEGY_LOG_LEVEL_INFO, &line);
    return true;
  }
  if (count != instrument_count) return refuse_state(err, "expected ", instrument_count, " instruments", count);
  size_t expected = HEADER_BYTES + AVERAGES_BYTES * instrument_count;
  if (length != expected) return refuse_state(err, "expected ", expected, " bytes", length);
  /* All of it is looked at before any of it is taken over. */
  for (size_t i = 0; i < instrument_count; i++) {
    uint8_t above = at[AVERAGES_BYTES * i + 24];
    if (above > 1) return refuse_state(err, "expected a truth value of 0 or ", 1, "", above);
  }
  for (size_t i = 0; i < instrument_count; i++) {
    uint8_t above;
    at = take(at, &instruments[i].count, 8);
    at = take(at, &instruments[i].fast, 8);
    at = take(at, &instruments[i].slow, 8);
    at = take(at, &above, 1);
    instruments[i].above = above;
  }
  return true;
}

bool exports_ringfence_strategy_state_load(exports_ringfence_strategy_state_snapshot_t *previous, fault_t *err) {
  bool done = load(previous->schema, previous->data.ptr, previous->data.len, err);
  exports_ringfence_strategy_state_snapshot_free(previous);
  return done;
}
