"""Buys when the fast moving average of the price crosses above the slow one, sells when it crosses below.

The averages are exponential: ``e = k * p + (1 - k) * e`` with ``k = 2 / (n + 1)``, starting at the first
price. A crossing at the price number ``slow`` or later gives one market order of ``quantity`` lots. The price
is the last trade, or the middle of the quote when a tick carries no trade.

componentize-py calls the classes ``Strategy`` and ``State`` of this module for the interfaces of the same
names. An error of the contract is raised as ``Err(Fault_...)``: the host then drops the orders of the call and
goes on with the same instance. Any other exception ends the instance.
"""

import json
import struct
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.exports import State as StateExports, Strategy as StrategyExports
from wit_world.exports.state import Snapshot
from wit_world.imports import log
from wit_world.imports.log import Level
from wit_world.imports.types import (
    DataNeeds,
    Event,
    Fault_IncompatibleState,
    Fault_Internal,
    Fault_InvalidSettings,
    Fault_NotReady,
    Instrument,
    Metadata,
    NewOrder,
    OrderIntent,
    OrderIntent_Submit,
    OrderKind_Market,
    OrderOptions,
    Session,
    Setting,
    SettingValue_Integer,
    Side,
    Tick,
    TickContext,
    TimeInForce_Gtc,
)

NAME = "ema-cross-python"

# Setting: lowest and highest value, default, and what it is. The JSON Schema and the checks are made of it.
SETTINGS = {
    "fast": (1, 100_000, 10, "prices of the fast average"),
    "slow": (2, 100_000, 20, "prices of the slow average"),
    "quantity": (1, 1_000_000_000, 1, "lots of each order"),
}

STATE_SCHEMA = 1
# Little-endian, without padding: the layout of every ema-cross here, so that one can replace another.
HEADER = struct.Struct("<III")
AVERAGES = struct.Struct("<QddB")


@dataclass
class Averages:
    """What is remembered of one instrument."""

    count: int = 0
    fast: float = 0.0
    slow: float = 0.0
    above: bool = False


class EmaCross:
    """One started strategy."""

    def __init__(self, session: Session) -> None:
        settings = read_settings(session.settings)
        self.fast, self.slow, self.quantity = settings["fast"], settings["slow"], settings["quantity"]
        if self.fast >= self.slow:
            raise Err(Fault_InvalidSettings(
                f"expected fast below slow, found fast {self.fast} and slow {self.slow}"
            ))
        self.fast_weight = 2.0 / (self.fast + 1.0)
        self.slow_weight = 2.0 / (self.slow + 1.0)
        self.next_order_id = session.next_order_id
        self.instruments = session.instruments
        self.averages = [Averages() for _ in session.instruments]

    def on_tick(self, tick: Tick) -> list[OrderIntent]:
        if tick.instrument >= len(self.instruments):
            raise Err(Fault_Internal(f"a tick of an unknown instrument, {tick.instrument}"))
        price = last_or_middle(self.instruments[tick.instrument], tick)
        if price is None:
            return []
        side = self.update(self.averages[tick.instrument], price)
        if side is None:
            return []
        order = NewOrder(
            id=self.next_order_id,
            instrument=tick.instrument,
            side=side,
            quantity=self.quantity,
            kind=OrderKind_Market(),
            tif=TimeInForce_Gtc(),
            options=OrderOptions(0),
            tag=0,
        )
        self.next_order_id += 1
        return [OrderIntent_Submit(order)]

    def update(self, averages: Averages, price: float) -> Side | None:
        """Takes in one price and says which way the averages crossed, if they did."""
        if averages.count == 0:
            averages.fast = averages.slow = price
        else:
            averages.fast = self.fast_weight * price + (1.0 - self.fast_weight) * averages.fast
            averages.slow = self.slow_weight * price + (1.0 - self.slow_weight) * averages.slow
        averages.count += 1
        above = averages.fast > averages.slow
        crossed = averages.count >= self.slow and above != averages.above
        averages.above = above
        if not crossed:
            return None
        return Side.BUY if above else Side.SELL

    def save(self) -> bytes:
        parts = [HEADER.pack(self.fast, self.slow, len(self.averages))]
        parts += [AVERAGES.pack(it.count, it.fast, it.slow, it.above) for it in self.averages]
        return b"".join(parts)

    def load(self, data: bytes) -> None:
        if len(data) < HEADER.size:
            raise incompatible(f"at least {HEADER.size} bytes", f"{len(data)}")
        fast, slow, count = HEADER.unpack_from(data)
        if (fast, slow) != (self.fast, self.slow):
            # Averages of other lengths would be wrong for a long time; fresh ones are right after `slow` prices.
            log.write(Level.INFO, f"averages start anew: saved ones are of {fast} and {slow} prices")
            return
        if count != len(self.averages):
            raise incompatible(f"{len(self.averages)} instruments", f"{count}")
        if len(data) != HEADER.size + count * AVERAGES.size:
            raise incompatible(f"{HEADER.size + count * AVERAGES.size} bytes", f"{len(data)}")
        loaded = []
        for values in AVERAGES.iter_unpack(data[HEADER.size:]):
            if values[3] > 1:
                raise incompatible("a truth value of 0 or 1", f"{values[3]}")
            loaded.append(Averages(*values[:3], above=bool(values[3])))
        self.averages = loaded


def last_or_middle(instrument: Instrument, tick: Tick) -> float | None:
    """The price that a tick shows. A price of zero means absent."""
    if tick.last_price > 0:
        return price_of(instrument, tick.last_price)
    if tick.bid_price > 0 and tick.ask_price > 0:
        return (price_of(instrument, tick.bid_price) + price_of(instrument, tick.ask_price)) / 2.0
    return None


def price_of(instrument: Instrument, ticks: int) -> float:
    """The price of a number of ticks. Rounds once, in the division: multiply first, as floats."""
    step = instrument.tick_size
    return float(ticks) * float(step.coefficient) / float(10**step.scale)


def incompatible(expected: str, found: str) -> Err:
    return Err(Fault_IncompatibleState(f"expected {expected}, found {found}"))


def read_settings(given: list[Setting]) -> dict[str, int]:
    values = {key: default for key, (_, _, default, _) in SETTINGS.items()}
    for setting in given:
        if setting.key not in SETTINGS:
            known = ", ".join(SETTINGS)
            raise Err(Fault_InvalidSettings(f'no setting "{setting.key}", the settings are {known}'))
        low, high, _, _ = SETTINGS[setting.key]
        if not isinstance(setting.value, SettingValue_Integer) or not low <= setting.value.value <= high:
            raise Err(Fault_InvalidSettings(f"{setting.key}: expected a whole number from {low} to {high}"))
        values[setting.key] = setting.value.value
    return values


def settings_schema() -> str:
    """JSON Schema of the settings, which the host checks a configuration against."""
    properties = {
        key: {"type": "integer", "minimum": low, "maximum": high, "description": about, "default": default}
        for key, (low, high, default, about) in SETTINGS.items()
    }
    return json.dumps({"type": "object", "additionalProperties": False, "properties": properties, "required": []})


# The host makes one instance per agent and calls it from one thread, so a global is the instance's memory.
running: EmaCross | None = None


def strategy() -> EmaCross:
    if running is None:
        raise Err(Fault_NotReady())
    return running


class Strategy(StrategyExports):
    def describe(self) -> Metadata:
        return Metadata(
            name=NAME,
            version="0.1.0",
            summary="a market order at each crossing of two averages",
            settings_schema=settings_schema(),
            state_schema=STATE_SCHEMA,
            oldest_loadable_state=STATE_SCHEMA,
            needs=DataNeeds(instruments_min=1, instruments_max=64, trades=True, quotes=True, bar_seconds=[]),
        )

    def init(self, session: Session) -> None:
        global running
        running = EmaCross(session)

    def strategy_tick(self, tick: Tick, context: TickContext) -> list[OrderIntent]:
        return strategy().on_tick(tick)

    def on_event(self, event: Event, context: TickContext) -> list[OrderIntent]:
        strategy()
        return []

    def stop(self) -> list[OrderIntent]:
        return []


class State(StateExports):
    def save(self) -> Snapshot:
        return Snapshot(schema=STATE_SCHEMA, data=strategy().save())

    def load(self, previous: Snapshot) -> None:
        if previous.schema != STATE_SCHEMA:
            raise incompatible(f"state of schema {STATE_SCHEMA}", f"{previous.schema}")
        strategy().load(previous.data)
