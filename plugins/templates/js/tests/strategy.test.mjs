// Runs the strategy natively: node --test tests
//
// In the component, `ringfence:strategy/log` is the host's; here a module that listens to nothing stands in.

import assert from "node:assert/strict";
import { register } from "node:module";
import test from "node:test";

const contract = "export default { enabled: () => false, write: () => {} };";
const hooks = `export const resolve = (name, context, next) =>
  name.startsWith("ringfence:")
    ? { url: ${JSON.stringify(`data:text/javascript,${encodeURIComponent(contract)}`)}, format: "module", shortCircuit: true }
    : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

const { strategy, state } = await import("../strategy.js");

function start(settings = {}) {
  strategy.init({
    nextOrderId: 1,
    instruments: [{ tickSize: { coefficient: 1, scale: 2 } }],
    settings: Object.entries(settings).map(([key, val]) => ({ key, value: { tag: "integer", val } })),
  });
}

/** What the strategy wants when somebody has traded at a price, in ticks. */
const trade = (price) =>
  strategy.strategyTick({ instrument: 0, lastPrice: price, bidPrice: 0, askPrice: 0 }, {}).map(({ val }) => val);

const falling = [105, 104, 103, 102, 101];

test("a crossing is bought on the way up and sold on the way down", () => {
  start({ fast: 2, slow: 5, quantity: 3 });
  for (const price of falling) assert.deepEqual(trade(price), []);
  for (const [price, expected] of [[500, "buy"], [50, "sell"]]) {
    assert.deepEqual(trade(price).map(({ side, quantity }) => [side, quantity]), [[expected, 3]]);
  }
});

test("state carries the averages over", () => {
  start({ fast: 2, slow: 5 });
  for (const price of falling) trade(price);
  const saved = state.save();
  start({ fast: 2, slow: 5 });
  state.load(saved);
  assert.deepEqual(trade(500).map(({ side }) => side), ["buy"]);
});

test("a fast average that is not faster is refused", () => {
  assert.throws(() => start({ fast: 20, slow: 10 }), (fault) => fault.tag === "invalid-settings");
});
