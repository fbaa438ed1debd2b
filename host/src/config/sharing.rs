//! One agent per instrument, where a venue cannot say whose an order was.

use super::AgentConfig;

/// An instrument that two agents trade on one account.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) symbol: String,
    agent: String,
    other: String,
    venue: String,
}

/// The first instrument that two agents share at a venue where that is not possible.
pub(super) fn find(agents: &[AgentConfig], needs_own_instrument: impl Fn(&str) -> bool) -> Option<Shared> {
    let pairs = agents
        .iter()
        .enumerate()
        .flat_map(|(position, agent)| agents.iter().take(position).map(move |earlier| (agent, earlier)));
    let on_one_account =
        pairs.filter(|(agent, other)| agent.venue == other.venue && needs_own_instrument(&agent.venue));
    on_one_account
        .flat_map(|(agent, other)| agent.instruments.iter().map(move |symbol| (symbol, agent, other)))
        .find(|(symbol, _, other)| other.instruments.contains(symbol))
        .map(|(symbol, agent, other)| Shared {
            symbol: symbol.clone(),
            agent: agent.name.to_string(),
            other: other.name.to_string(),
            venue: agent.venue.clone(),
        })
}

impl Shared {
    pub(super) fn place(&self) -> String {
        format!("agent \"{}\", instruments", self.agent)
    }

    pub(super) fn advice(&self) -> String {
        format!(
            "agent \"{}\" trades it too, and venue \"{}\" cannot say whose order changed a position; give each \
             instrument to one agent, or the agents accounts of their own",
            self.other, self.venue
        )
    }
}
