//! Whatever is ordered and whatever goes wrong, the client says no more than what happened, and in the end all of it.

use super::rig::{Sent, Told, Two, side};
use crate::market::{Lots, PriceTicks};
use crate::orders::OrderKind;
use crate::venue::paper::purpleflea::{FaultRule, FleaFault, FleaFaults, When};
use crate::venue::{Outcome, Venue as _};
use proptest::prelude::*;

/// One step of a sequence.
#[derive(Clone, Debug)]
enum Step {
    Open { lots: i64 },
    CloseWhatIsHeld,
    Limit { lots: i64, percent: i64 },
    CancelNewest,
    Price { permille: i64 },
    Wait { ms: u64 },
    Fault(FleaFault),
}

fn step() -> impl Strategy<Value = Step> {
    let lots = || prop_oneof![1_i64..200, -200_i64..-1];
    // A trickling reply is the one fault that costs real time, and one that lists nothing twice the one that no
    // reading can tell from the truth: both have tests of their own.
    let faults = FleaFault::EXAMPLES
        .into_iter()
        .filter(|fault| !matches!(fault, FleaFault::SlowLoris(_) | FleaFault::EmptyPositions))
        .collect::<Vec<_>>();
    prop_oneof![
        4 => lots().prop_map(|lots| Step::Open { lots }),
        2 => Just(Step::CloseWhatIsHeld),
        2 => (lots(), 95_i64..105).prop_map(|(lots, percent)| Step::Limit { lots, percent }),
        1 => Just(Step::CancelNewest),
        3 => (990_i64..1_010).prop_map(|permille| Step::Price { permille }),
        2 => (0_u64..90_000).prop_map(|ms| Step::Wait { ms }),
        4 => prop::sample::select(faults).prop_map(Step::Fault),
    ]
}

/// An account, and what the host knows of its orders.
struct Host {
    two: Two,
    /// Cents.
    price: i64,
    orders: Vec<Sent>,
    /// How many orders had been sent when one was known to be over, by its place.
    ended: Vec<Option<usize>>,
}

impl Host {
    async fn start() -> Self {
        Self { two: Two::start().await, price: 10_000, orders: Vec::new(), ended: Vec::new() }
    }

    fn is_unknown(sent: &Sent) -> bool {
        matches!(sent.outcome, Outcome::Ambiguous(_) | Outcome::Unknown) && !sent.told.is_over
    }

    /// While the outcome of an order is unknown the coin takes no other, as in the core.
    fn is_locked(&self) -> bool {
        self.orders.iter().any(Self::is_unknown)
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Price { permille } => {
                self.price = (self.price * permille / 1_000).clamp(5_000, 20_000);
                self.two.last("SPX", &format!("{}.{:02}", self.price / 100, self.price % 100));
                return;
            }
            Step::Wait { ms } => return self.two.paper.advance_ms(*ms),
            Step::Fault(fault) => {
                let rule = FaultRule { route: None, fault: *fault, when: When::Next(1) };
                let faults = FleaFaults { rules: vec![rule], ..FleaFaults::default() };
                return self.two.paper.set_faults(faults).unwrap();
            }
            _ => {}
        }
        self.look().await;
        if self.is_locked() {
            return;
        }
        let reference = Some(PriceTicks(self.price));
        let request = match *step {
            Step::Open { lots } => self.two.order(lots, |order| order.reference = reference),
            Step::Limit { lots, percent } => self.two.order(lots, |order| {
                order.reference = reference;
                order.kind = OrderKind::Limit(PriceTicks(self.price * percent / 100));
            }),
            Step::CloseWhatIsHeld => {
                let held: i64 = self.orders.iter().map(|sent| sent.told.lots.0).sum();
                if held == 0 {
                    return;
                }
                self.two.order(-held, |order| {
                    order.reference = reference;
                    (order.held, order.options.reduce_only) = (Lots(held), true);
                })
            }
            _ => {
                let waits = |sent: &&Sent| sent.told.venue_id.is_some() && !sent.told.is_over;
                let Some(index) = self.orders.iter().rposition(|sent| waits(&sent)) else { return };
                let cancel = self.two.cancel(&self.orders[index]);
                if let Ok(baseline) = self.two.venue.baseline(&cancel).await {
                    let outcome = self.two.send_after(cancel, baseline).await.outcome;
                    let limit = &mut self.orders[index];
                    limit.told.take(&outcome, side(&limit.request));
                    self.note_ends();
                }
                return;
            }
        };
        if let Ok(baseline) = self.two.venue.baseline(&request).await {
            let sent = self.two.send_after(request, baseline).await;
            self.orders.push(sent);
            self.note_ends();
        }
        self.never_too_much();
    }

    /// Asks about everything that is not over.
    async fn look(&mut self) {
        for index in 0..self.orders.len() {
            let mut sent = self.orders[index].clone();
            let never = matches!(sent.outcome, Outcome::Refused(_) | Outcome::NotSent(_));
            if never || sent.told.is_over {
                continue;
            }
            let others: Vec<Told> = self.others(index);
            let others: Vec<&Told> = others.iter().collect();
            self.two.ask_beside(&mut sent, &others).await;
            // An operator, who can see that the venue never had it, resolves it.
            sent.told.is_over |= sent.outcome == Outcome::Unknown && self.never_arrived(&sent);
            self.orders[index] = sent;
            self.note_ends();
            self.never_too_much();
        }
    }

    fn never_arrived(&self, sent: &Sent) -> bool {
        let truth = self.two.truth();
        let arrival = truth.requests.iter().find(|arrival| Some(arrival.number) == sent.arrival);
        let is_late = |fault: &str| fault.starts_with("late");
        arrival.is_none_or(|arrival| arrival.handled == 0 && !arrival.fault.as_deref().is_some_and(is_late))
    }

    fn note_ends(&mut self) {
        let sent = self.orders.len();
        self.ended.resize(sent, None);
        for (ended, order) in self.ended.iter_mut().zip(&self.orders) {
            if ended.is_none() && order.told.is_over {
                *ended = Some(sent);
            }
        }
    }

    /// As the ledger gives them: what works, or has ended since the baseline of the order that is asked about, and has
    /// an id or a fill. What had ended before is in the baseline.
    fn others(&self, index: usize) -> Vec<Told> {
        let ended_before = |other: usize| self.ended[other].is_some_and(|sent| sent <= index);
        let others = self.orders.iter().enumerate();
        let others = others.filter(|(other, _)| *other != index && !ended_before(*other));
        let told = others.map(|(_, sent)| sent.told.clone());
        told.filter(|told| told.venue_id.is_some() || !told.lots.is_zero()).collect()
    }

    /// No order was told more of than it has moved; `ask_beside` and `send_after` look at each by itself.
    fn never_too_much(&self) {
        let (told, moved) = self.sums();
        assert!(told <= moved, "told {told} of {moved} lots: {:#?}", self.orders);
    }

    fn sums(&self) -> (i64, i64) {
        let told = self.orders.iter().map(|sent| sent.told.lots.0.abs()).sum();
        let moved = self.orders.iter().map(|sent| self.two.moved(sent).abs()).sum();
        (told, moved)
    }

    /// Everything heals, whatever is late comes in, and all is asked about until nothing new is found.
    async fn heal(&mut self) {
        self.two.paper.set_faults(FleaFaults::default()).unwrap();
        self.two.paper.advance_ms(3_600_000);
        for _ in 0..self.orders.len() + 2 {
            self.look().await;
        }
    }
}

async fn run(steps: Vec<Step>) {
    let mut host = Host::start().await;
    for step in &steps {
        host.take(step).await;
    }
    host.heal().await;
    for sent in &host.orders {
        let (told, moved) = (sent.told.lots.0.abs(), host.two.moved(sent).abs());
        // A request that was delivered twice is the one thing that a reply hides: the positions show it.
        let doubled = host.two.executions(sent).len() > 1;
        let left_to_a_person = matches!(sent.outcome, Outcome::Ambiguous(_));
        assert!(told == moved || doubled || left_to_a_person, "told {told} of {moved}: {sent:#?}");
    }
}

/// The venue closes by the row of an order that was netted away, so that nobody can tell the id of the first close.
/// Its fill had been counted before the second close was sent and is no part of what that one has moved.
#[tokio::test]
async fn a_close_without_an_id_is_no_part_of_the_one_after_it() {
    let fault = Step::Fault(FleaFault::FailAfterInsert);
    let opens = [158, -3, -156].map(|lots| Step::Open { lots });
    let later = [Step::CloseWhatIsHeld, Step::Open { lots: -3 }, fault, Step::CloseWhatIsHeld];
    run(opens.into_iter().chain(later).collect()).await;
}

#[tokio::test]
async fn a_close_without_a_row_is_told_at_the_price_that_it_was_decided_at() {
    let down = || Step::Price { permille: 990 };
    let limit = Step::Limit { lots: -3, percent: 95 };
    let fault = Step::Fault(FleaFault::FailAfterFill);
    let wait = Step::Wait { ms: 30_000 };
    run(vec![down(), fault, down(), limit, wait, Step::CloseWhatIsHeld, Step::Open { lots: 1 }]).await;
}

#[tokio::test]
async fn an_open_without_a_row_is_told_at_its_own_price_and_not_at_that_of_the_question() {
    let up = || Step::Price { permille: 1_009 };
    let fault = Step::Fault(FleaFault::FailAfterFill);
    let opens = [Step::Open { lots: 100 }, fault, Step::Open { lots: -50 }];
    let later = [up(), up(), up(), Step::Wait { ms: 31_000 }, Step::CloseWhatIsHeld];
    run(opens.into_iter().chain(later).collect()).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_what_happened(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
