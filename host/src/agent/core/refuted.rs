//! Telling a person that the venue has an order which was taken for gone.

use super::evidence::change_name;
use super::{Core, Effect};
use crate::orders::{Intent, IntentKey, Refuted};
use crate::resilience::Class;
use crate::venue::OrderChange;

impl Core {
    pub(super) fn tell_refuted(
        &mut self,
        key: IntentKey,
        change: &OrderChange,
        refuted: Refuted,
        out: &mut Vec<Effect>,
    ) {
        let child = self.ledger.intent(&key).and_then(Intent::child);
        let (class, code, words) = match refuted {
            Refuted::Denial => (
                Class::Data,
                "denial_refuted",
                "which it had denied twice; raise settle_ms above the delay of its reads".to_owned(),
            ),
            Refuted::Reissue => (
                Class::State,
                "reissue_refuted",
                format!(
                    "which an operator had said was never executed; intent {} was made in its place, so look at the \
                     position and cancel what is too much",
                    child.map_or_else(|| "another".to_owned(), |child| child.to_string()),
                ),
            ),
            Refuted::Refusal => (
                Class::Data,
                "refusal_refuted",
                "which it had refused; the order counts again, see who answers for the venue".to_owned(),
            ),
            Refuted::Resolution => (
                Class::State,
                "resolution_refuted",
                "whose dead letter an operator had closed; the order counts again, look at the position"
                    .to_owned(),
            ),
            Refuted::Unsent => (
                Class::Data,
                "unsent_refuted",
                "which had provably never left; the order counts again, see whether something else uses the \
                 agent's keys"
                    .to_owned(),
            ),
            Refuted::Drop => (
                Class::State,
                "drop_refuted",
                "which an operator had taken for gone; the order counts again".to_owned(),
            ),
        };
        let name = &self.config.name;
        let text =
            format!("agent {name}: the venue reported {} of intent {key}, {words}", change_name(change));
        self.alert(class, code, text, out);
    }
}
