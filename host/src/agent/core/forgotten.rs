//! Telling a person what the agent cannot know any more.

use super::{Core, Effect};
use crate::orders::Ledger;
use crate::resilience::Class;
use crate::venue::{OrderChange, OrderUpdate};

impl Core {
    /// Says once that closed orders are forgotten before their time.
    pub(super) fn tell_forgotten(&mut self, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.forgotten_told, true) {
            return;
        }
        let (max, hours) = (Ledger::TOMBSTONES_MAX, Ledger::TOMBSTONE_AGE.as_secs() / 3_600);
        let text = format!(
            "agent {}: more than {max} orders ended within {hours} h, so the oldest are forgotten sooner; a fill of \
             one of them that comes late is told as unclaimed_fill and has to be adopted by hand",
            self.config.name
        );
        self.alert(Class::Resource, "tombstones_full", text, out);
    }

    /// Hands a fill over of an order that this agent does not know. Another agent of the account may.
    pub(super) fn disclaim(&self, update: &OrderUpdate, out: &mut Vec<Effect>) {
        let is_new = update.sequence > self.cursor;
        if is_new && matches!(update.change, OrderChange::Filled { .. }) && !self.ledger.knows(&update.key) {
            out.push(Effect::Unclaimed { key: update.key, sequence: update.sequence });
        }
    }
}
