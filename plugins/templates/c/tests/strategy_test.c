/* Runs the strategy natively, against the header that `ringfence build` writes to build/bindings:
 *   cc -std=c17 -I build/bindings -o build/strategy_test tests/strategy_test.c && build/strategy_test
 * In the component the functions below come from the host and the generated code. */

#include "../strategy.c"

#include <stdio.h>

void ringfence_strategy_log_write(ringfence_strategy_log_level_t level, plugin_string_t *message) {
  (void)level, (void)message;
}
void plugin_string_set(plugin_string_t *ret, const char *text) {
  ret->ptr = (uint8_t *)text;
  ret->len = strlen(text);
}
void plugin_string_dup(plugin_string_t *ret, const char *text) {
  ret->len = strlen(text);
  ret->ptr = malloc(ret->len + 1);
  memcpy(ret->ptr, text, ret->len + 1);
}
/* What the test hands over lies on its stack. */
void ringfence_strategy_types_session_free(ringfence_strategy_types_session_t *it) { (void)it; }
void ringfence_strategy_types_event_free(ringfence_strategy_types_event_t *it) { (void)it; }
void exports_ringfence_strategy_state_snapshot_free(exports_ringfence_strategy_state_snapshot_t *it) { (void)it; }

static int failures;

static void expect(bool held, const char *what) {
  if (held) return;
  fprintf(stderr, "failed: %s\n", what);
  failures++;
}

static ringfence_strategy_types_setting_t setting(const char *key, int64_t value) {
  ringfence_strategy_types_setting_t it = {0};
  plugin_string_set(&it.key, key);
  it.value.tag = RINGFENCE_STRATEGY_TYPES_SETTING_VALUE_INTEGER;
  it.value.val.integer = value;
  return it;
}

static bool start_with(int64_t fast_prices, int64_t slow_prices) {
  ringfence_strategy_types_setting_t settings[] = {setting("fast", fast_prices), setting("slow", slow_prices)};
  ringfence_strategy_types_instrument_t instrument = {.tick_size = {.coefficient = 1, .scale = 2}};
  ringfence_strategy_types_session_t session = {.next_order_id = 1};
  session.instruments.ptr = &instrument;
  session.instruments.len = 1;
  session.settings.ptr = settings;
  session.settings.len = 2;
  fault_t fault;
  return exports_ringfence_strategy_strategy_init(&session, &fault);
}

/* 'B', 'S' or '-': what the strategy wants when somebody has traded at a price, in ticks. */
static char trade(int64_t price) {
  ringfence_strategy_types_tick_t tick = {.last_price = price};
  ringfence_strategy_types_tick_context_t context = {0};
  exports_ringfence_strategy_strategy_list_order_intent_t intents;
  fault_t fault;
  if (!exports_ringfence_strategy_strategy_strategy_tick(&tick, &context, &intents, &fault)) return '!';
  if (intents.len == 0) return '-';
  char side = intents.ptr[0].val.submit.side == RINGFENCE_STRATEGY_TYPES_SIDE_BUY ? 'B' : 'S';
  free(intents.ptr);
  return side;
}

int main(void) {
  expect(start_with(2, 5), "it starts");
  for (int64_t price = 105; price > 100; price--) expect(trade(price) == '-', "nothing is ordered on the way down");

  exports_ringfence_strategy_state_snapshot_t saved;
  fault_t fault;
  expect(exports_ringfence_strategy_state_save(&saved, &fault), "it saves");
  expect(trade(500) == 'B', "a crossing is bought on the way up");
  expect(trade(50) == 'S', "a crossing is sold on the way down");

  expect(start_with(2, 5), "it starts again");
  expect(exports_ringfence_strategy_state_load(&saved, &fault), "it loads what it saved");
  expect(trade(500) == 'B', "state carries the averages over");

  expect(!start_with(20, 10), "a fast average that is not faster is refused");
  if (failures == 0) puts("all tests pass");
  return failures != 0;
}
