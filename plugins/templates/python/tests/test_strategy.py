"""Runs the strategy natively, against the types that `ringfence build` writes to build/bindings."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent.parent
BINDINGS = HERE / "build" / "bindings"
if not BINDINGS.is_dir():
    sys.exit(f"{BINDINGS} is missing: run `ringfence build` first")
sys.path[:0] = [str(HERE), str(BINDINGS)]

import strategy  # noqa: E402
from wit_world.imports import log  # noqa: E402
from wit_world.imports.types import (  # noqa: E402
    Decimal,
    Instrument,
    InstrumentKind,
    Mode,
    Session,
    Setting,
    SettingValue_Integer,
    Side,
    Tick,
    TickContext,
)

# What the host answers. Here: nobody listens to the log.
log.write = lambda _level, _message: None


def session(**settings):
    step = Decimal(1, 2)
    instrument = Instrument(0, "SAMPLE", "lab", InstrumentKind.SPOT, "USD", Decimal(1, 0), step, step, 1, 1_000_000)
    given = [Setting(key, SettingValue_Integer(value)) for key, value in settings.items()]
    return Session(1, 7, 0, 1, [instrument], given, False)


def started(**settings):
    run = strategy.Strategy()
    run.init(session(**settings))
    return run


def trade(run, price):
    """What the strategy wants when somebody has traded at a price, in ticks."""
    names = Tick.__dataclass_fields__
    values = {name: 0 for name in names}
    values.update(last_price=price, last_size=1)
    context = TickContext(0, 0, 0, 64, Mode.FULL)
    return [intent.value for intent in run.strategy_tick(Tick(**values), context)]


FALLING = [105, 104, 103, 102, 101]


class Crossings(unittest.TestCase):
    def test_a_crossing_is_bought_on_the_way_up_and_sold_on_the_way_down(self):
        run = started(fast=2, slow=5, quantity=3)
        for price in FALLING:
            self.assertEqual(trade(run, price), [])
        for price, side in [(500, Side.BUY), (50, Side.SELL)]:
            orders = trade(run, price)
            self.assertEqual([(order.side, order.quantity) for order in orders], [(side, 3)])

    def test_state_carries_the_averages_over(self):
        run = started(fast=2, slow=5)
        for price in FALLING:
            trade(run, price)
        saved = strategy.State().save()
        heir = started(fast=2, slow=5)
        strategy.State().load(saved)
        self.assertEqual([order.side for order in trade(heir, 500)], [Side.BUY])

    def test_a_fast_average_that_is_not_faster_is_refused(self):
        with self.assertRaises(Exception):
            started(fast=20, slow=10)


if __name__ == "__main__":
    unittest.main()
