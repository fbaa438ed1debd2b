// The averages of ema-cross-js with WASI left in, and a look at what WASI gives a strategy.
//
// It trades like the other. On the operator's word "look" it says in the log what the clock shows and what the
// random numbers are: the time of the data, and the strategy's own seeded stream.

import log from "ringfence:strategy/log@1.0.0";
import { strategy as emaCross } from "../ema-cross-js/ema_cross.js";

export { state } from "../ema-cross-js/ema_cross.js";

export const strategy = {
  ...emaCross,
  describe() {
    return { ...emaCross.describe(), name: "wasi-js", summary: "ema-cross with WASI, which it can try out" };
  },
  onEvent(event, context) {
    if (event.tag === "operator" && event.val === "look") {
      log.write("info", `look: ${Date.now()} ${new Date().toISOString()} ${Math.random()}`);
    }
    return emaCross.onEvent(event, context);
  },
};
