//! One account: what it may do, its books at the exchange and in the database, and how it registers.

use super::super::keys::Keys;
use super::config::{FleaAccount, FleaConfig, Tier};
use super::engine::World;
use super::exchange::Exchange;
use super::request::Incoming;
use super::rows::Rows;
use super::truth::FleaAccountTruth;
use super::wire::{Reply, number, truthy};
use crate::random::SplitMix64;
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// One account, which the server calls an agent.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) referral_code: String,
    pub(super) tier: Tier,
    pub(super) max_leverage: Decimal,
    pub(super) max_position_usd: Decimal,
    pub(super) max_daily_loss_usd: Option<Decimal>,
    pub(super) wallet: Option<String>,
    pub(super) generated: bool,
    pub(super) total_volume: Decimal,
    pub(super) total_fees: Decimal,
    pub(super) total_pnl: Decimal,
    pub(super) exchange: Exchange,
    pub(super) rows: Rows,
    pub(super) keys: Keys,
    pub(super) repeats: u64,
}

/// Makes ids that nobody else has, the same ones for the same seed.
#[derive(Debug)]
pub(super) struct Ids(SplitMix64);

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self(SplitMix64(seed))
    }

    /// So many bytes in hexadecimal.
    pub(super) fn hex(&mut self, bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < 2 * bytes {
            text.push_str(&format!("{:016x}", self.0.next_u64()));
        }
        text.truncate(2 * bytes);
        text
    }

    /// A prefix and a random UUID.
    pub(super) fn uuid(&mut self, prefix: &str) -> String {
        let (high, low) = (self.0.next_u64(), self.0.next_u64());
        let number = (u128::from(high) << 64) | u128::from(low);
        // Version 4 and variant 1 of RFC 9562.
        let number = number & !(0xF << 76) | (0x4 << 76);
        let number = number & !(0x3 << 62) | (0x2 << 62);
        let hex = format!("{number:032x}");
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
        format!("{prefix}_{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }
}

impl Account {
    pub(super) fn new(given: &FleaAccount, config: &FleaConfig, ids: &mut Ids) -> Self {
        Self {
            name: given.name.clone(),
            id: format!("ag_{}", ids.hex(6)),
            referral_code: format!("ref_{}", ids.hex(4)),
            tier: given.tier,
            max_leverage: given.max_leverage.into(),
            max_position_usd: given.max_position_usd,
            max_daily_loss_usd: None,
            wallet: given.wallet.then(|| format!("0x{}", ids.hex(20))),
            generated: false,
            total_volume: Decimal::ZERO,
            total_fees: Decimal::ZERO,
            total_pnl: Decimal::ZERO,
            exchange: Exchange::new(given.cash),
            rows: Rows::default(),
            keys: Keys::new(config.keys_max),
            repeats: 0,
        }
    }

    /// Counts a trade.
    pub(super) fn count(&mut self, volume: Decimal, fee: Decimal, pnl: Decimal) {
        self.total_volume = self.total_volume.saturating_add(volume);
        self.total_fees = self.total_fees.saturating_add(fee);
        self.total_pnl = self.total_pnl.saturating_add(pnl);
    }

    /// `GET /v1/auth/account`.
    pub(super) fn view(&self) -> Reply {
        Reply::json(
            200,
            json!({
                "agent_id": self.id,
                "tier": self.tier.name(),
                "max_leverage": number(self.max_leverage),
                "max_position_usd": number(self.max_position_usd),
                "total_volume": number(self.total_volume),
                "total_fees_paid": number(self.total_fees),
                "total_pnl": number(self.total_pnl),
                "referral_code": self.referral_code,
                "hl_wallet": {
                    "address": self.wallet,
                    "connected": self.wallet.is_some(),
                    "generated": self.generated,
                    "signing_key_stored": self.wallet.is_some(),
                    "builder_fee_approved": self.wallet.is_some() && !self.generated,
                    "execution": if self.wallet.is_some() { "real" } else { "not_configured" },
                },
            }),
        )
    }

    pub(super) fn truth(&self, world: &World) -> FleaAccountTruth {
        let positions = self.exchange.executions().iter().map(|execution| &execution.coin);
        let positions = positions.map(|coin| (coin.clone(), self.exchange.holding(coin).size)).collect();
        FleaAccountTruth {
            name: self.name.clone(),
            positions,
            equity: self.exchange.equity(&|coin: &str| world.prices.quote(coin)),
            executions: self.exchange.executions().to_vec(),
            rows: self.rows.positions.clone(),
            trades: self.rows.trades.clone(),
            resting: self.rows.resting.clone(),
            repeats: self.repeats,
        }
    }
}

/// `POST /v1/auth/register`: the new account with its key, and the reply that gives the key away.
pub(super) fn register(
    request: &Incoming,
    config: &FleaConfig,
    ids: &mut Ids,
) -> Result<(Account, String, Reply), Reply> {
    // This handler alone takes a body that is no JSON for an empty one.
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_else(|_| json!({}));
    if body.is_null() {
        return Err(Reply::internal());
    }
    let (address, signing) = (body.get("hl_wallet_address"), body.get("hl_signing_key"));
    if truthy(address) && !is_hex(address, 40) {
        let message = "hl_wallet_address must be a valid Ethereum address (0x...)";
        return Err(Reply::error(400, "invalid_wallet", message));
    }
    if truthy(signing) && !is_hex(signing, 64) {
        let message = "hl_signing_key must be a valid 32-byte hex private key (0x...)";
        return Err(Reply::error(400, "invalid_signing_key", message));
    }
    let given = FleaAccount { cash: config.registered_cash, ..FleaAccount::default() };
    let mut account = Account::new(&given, config, ids);
    account.name.clone_from(&account.id);
    account.generated = !truthy(signing);
    if let (Some(address), false) = (address.and_then(Value::as_str), account.generated) {
        account.wallet = Some(address.to_lowercase());
    }
    let key = format!("sk_trade_{}", ids.hex(24));
    let onboarding = if account.generated {
        "Fund this address on Hyperliquid to start trading"
    } else {
        "Deposit USDC to your Hyperliquid account via https://app.hyperliquid.xyz/join/PF"
    };
    let reply = Reply::json(
        201,
        json!({
            "agent_id": account.id,
            "api_key": key,
            "referral_code": account.referral_code,
            "tier": "free",
            "deposit_address": account.wallet,
            "hl_wallet": {
                "address": account.wallet,
                "generated": account.generated,
                "signing_key_stored": true,
                "builder_fee_approved": !account.generated,
                "execution": "real",
                "onboarding": onboarding,
            },
        }),
    );
    Ok((account, key, reply))
}

/// Whether a value is `0x` and so many hexadecimal digits.
fn is_hex(value: Option<&Value>, digits: usize) -> bool {
    let text = value.and_then(Value::as_str).and_then(|text| text.strip_prefix("0x"));
    text.is_some_and(|text| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
