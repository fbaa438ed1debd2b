// Buys when the fast moving average of the price crosses above the slow one, sells when it crosses below.
//
// The averages are exponential: `e = k * p + (1 - k) * e` with `k = 2 / (n + 1)`, starting at the first price.
// A crossing at the price number `slow` or later gives one market order of `quantity` lots. The price is the
// last trade, or the middle of the quote when a tick carries no trade.
//
// componentize-qjs calls the exported objects `strategy` and `state` for the interfaces of the same names. Names
// become camelCase; a variant is `{ tag, val }`; what a function throws is the error of its result: the host
// then drops the orders of the call and goes on with the same instance.
//
// A u64 or s64 arrives as a JavaScript number, exact up to 2^53. Prices, lots and order numbers fit; times in
// nanoseconds and the session's seed do not, and lose their last digits.

import log from "ringfence:strategy/log@1.0.0";

const NAME = "ema-cross-js";

// Setting: lowest and highest value, default, and what it is. The JSON Schema and the checks are made of it.
const SETTINGS = {
  fast: { minimum: 1, maximum: 100_000, default: 10, description: "prices of the fast average" },
  slow: { minimum: 2, maximum: 100_000, default: 20, description: "prices of the slow average" },
  quantity: { minimum: 1, maximum: 1_000_000_000, default: 1, description: "lots of each order" },
};

// Little-endian, without padding: the layout of every ema-cross here, so that one can replace another.
const STATE_SCHEMA = 1;
const HEADER_BYTES = 12;
const AVERAGES_BYTES = 25;

const invalidSettings = (words) => ({ tag: "invalid-settings", val: words });
const incompatible = (expected, found) => ({
  tag: "incompatible-state",
  val: `expected ${expected}, found ${found}`,
});

/** One started strategy. */
class EmaCross {
  constructor(session) {
    const { fast, slow, quantity } = readSettings(session.settings);
    if (fast >= slow) {
      throw invalidSettings(`expected fast below slow, found fast ${fast} and slow ${slow}`);
    }
    this.fast = fast;
    this.slow = slow;
    this.quantity = quantity;
    this.fastWeight = 2 / (fast + 1);
    this.slowWeight = 2 / (slow + 1);
    this.nextOrderId = session.nextOrderId;
    this.instruments = session.instruments.map(({ tickSize }) => ({
      coefficient: tickSize.coefficient,
      divisor: 10 ** tickSize.scale,
      count: 0,
      fast: 0,
      slow: 0,
      above: false,
    }));
  }

  onTick(tick) {
    const instrument = this.instruments[tick.instrument];
    if (instrument === undefined) {
      throw { tag: "internal", val: `a tick of an unknown instrument, ${tick.instrument}` };
    }
    const price = lastOrMiddle(instrument, tick);
    const side = price === null ? null : this.update(instrument, price);
    if (side === null) return [];
    const order = {
      id: this.nextOrderId,
      instrument: tick.instrument,
      side,
      quantity: this.quantity,
      kind: { tag: "market" },
      tif: { tag: "gtc" },
      options: { postOnly: false, reduceOnly: false },
      tag: 0,
    };
    this.nextOrderId += 1;
    return [{ tag: "submit", val: order }];
  }

  /** Takes in one price and says which way the averages crossed, if they did. */
  update(averages, price) {
    if (averages.count === 0) {
      averages.fast = price;
      averages.slow = price;
    } else {
      averages.fast = this.fastWeight * price + (1 - this.fastWeight) * averages.fast;
      averages.slow = this.slowWeight * price + (1 - this.slowWeight) * averages.slow;
    }
    averages.count += 1;
    const above = averages.fast > averages.slow;
    const crossed = averages.count >= this.slow && above !== averages.above;
    averages.above = above;
    if (!crossed) return null;
    return above ? "buy" : "sell";
  }

  save() {
    const data = new Uint8Array(HEADER_BYTES + AVERAGES_BYTES * this.instruments.length);
    const view = new DataView(data.buffer);
    view.setUint32(0, this.fast, true);
    view.setUint32(4, this.slow, true);
    view.setUint32(8, this.instruments.length, true);
    this.instruments.forEach((averages, index) => {
      const at = HEADER_BYTES + AVERAGES_BYTES * index;
      view.setBigUint64(at, BigInt(averages.count), true);
      view.setFloat64(at + 8, averages.fast, true);
      view.setFloat64(at + 16, averages.slow, true);
      view.setUint8(at + 24, averages.above ? 1 : 0);
    });
    return data;
  }

  load(bytes) {
    const data = Uint8Array.from(bytes);
    if (data.length < HEADER_BYTES) throw incompatible(`at least ${HEADER_BYTES} bytes`, data.length);
    const view = new DataView(data.buffer);
    const [fast, slow, count] = [0, 4, 8].map((at) => view.getUint32(at, true));
    if (fast !== this.fast || slow !== this.slow) {
      // Averages of other lengths would be wrong for a long time; fresh ones are right after `slow` prices.
      log.write("info", `averages start anew: saved ones are of ${fast} and ${slow} prices`);
      return;
    }
    if (count !== this.instruments.length) {
      throw incompatible(`${this.instruments.length} instruments`, count);
    }
    const expected = HEADER_BYTES + AVERAGES_BYTES * count;
    if (data.length !== expected) throw incompatible(`${expected} bytes`, data.length);
    const loaded = this.instruments.map((instrument, index) => {
      const at = HEADER_BYTES + AVERAGES_BYTES * index;
      const above = view.getUint8(at + 24);
      if (above > 1) throw incompatible("a truth value of 0 or 1", above);
      return {
        ...instrument,
        count: Number(view.getBigUint64(at, true)),
        fast: view.getFloat64(at + 8, true),
        slow: view.getFloat64(at + 16, true),
        above: above === 1,
      };
    });
    this.instruments = loaded;
  }
}

/** The price that a tick shows, or null. A price of zero means absent. */
function lastOrMiddle(instrument, tick) {
  // Rounds once, in the division: the product is exact below 2^53.
  const priceOf = (ticks) => (ticks * instrument.coefficient) / instrument.divisor;
  if (tick.lastPrice > 0) return priceOf(tick.lastPrice);
  if (tick.bidPrice > 0 && tick.askPrice > 0) {
    return (priceOf(tick.bidPrice) + priceOf(tick.askPrice)) / 2;
  }
  return null;
}

function readSettings(given) {
  const values = {};
  for (const [key, { default: value }] of Object.entries(SETTINGS)) values[key] = value;
  for (const { key, value } of given) {
    if (!Object.hasOwn(SETTINGS, key)) {
      const known = Object.keys(SETTINGS).join(", ");
      throw invalidSettings(`no setting "${key}", the settings are ${known}`);
    }
    const { minimum, maximum } = SETTINGS[key];
    if (value.tag !== "integer" || value.val < minimum || value.val > maximum) {
      throw invalidSettings(`${key}: expected a whole number from ${minimum} to ${maximum}`);
    }
    values[key] = value.val;
  }
  return values;
}

/** JSON Schema of the settings, which the host checks a configuration against. */
function settingsSchema() {
  const properties = {};
  for (const [key, bounds] of Object.entries(SETTINGS)) properties[key] = { type: "integer", ...bounds };
  return JSON.stringify({ type: "object", additionalProperties: false, properties, required: [] });
}

// The host makes one instance per agent and calls it from one thread, so this is the instance's memory.
let running = null;

function started() {
  if (running === null) throw { tag: "not-ready" };
  return running;
}

export const strategy = {
  describe() {
    return {
      name: NAME,
      version: "0.1.0",
      summary: "a market order at each crossing of two averages",
      settingsSchema: settingsSchema(),
      stateSchema: STATE_SCHEMA,
      oldestLoadableState: STATE_SCHEMA,
      needs: { instrumentsMin: 1, instrumentsMax: 64, trades: true, quotes: true, barSeconds: [] },
    };
  },
  init(session) {
    running = new EmaCross(session);
  },
  strategyTick(tick, _context) {
    return started().onTick(tick);
  },
  onEvent(_event, _context) {
    started();
    return [];
  },
  stop() {
    return [];
  },
};

export const state = {
  save() {
    return { schema: STATE_SCHEMA, data: started().save() };
  },
  load(previous) {
    if (previous.schema !== STATE_SCHEMA) {
      throw incompatible(`state of schema ${STATE_SCHEMA}`, previous.schema);
    }
    started().load(previous.data);
  },
};
