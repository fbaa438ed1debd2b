//! What travels with a component's store, for every version of the contract.

use super::Services;
use super::limits::{Limiter, SandboxLimits};
use super::trap::LimitHit;
use super::wasi::{WasiGrant, WasiState};
use wasmtime::Result;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

/// What the store of one instance carries.
pub(super) struct StoreData {
    /// The core's services during a call, vacant ones between two.
    pub services: Box<Services>,
    /// Memory and table counters.
    pub limiter: Limiter,
    /// Calls into the host that are left, and how many there were.
    pub host_calls: HostCalls,
    /// What WASI keeps for a component that was granted it.
    pub wasi: Option<Box<WasiState>>,
}

/// A counter of calls into the host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostCalls {
    left: u32,
    max: u32,
}

impl HostCalls {
    /// As many calls as this are left.
    pub fn new(max: u32) -> Self {
        Self { left: max, max }
    }

    fn spend(&mut self) -> Result<()> {
        self.left = self.left.checked_sub(1).ok_or(LimitHit::HostCalls { max: self.max })?;
        Ok(())
    }
}

impl StoreData {
    /// The data of a fresh store.
    pub fn new(limits: &SandboxLimits, files: &WasiFilesystemCtx) -> Self {
        Self {
            services: Box::new(Services::vacant()),
            limiter: Limiter::new(limits),
            host_calls: HostCalls::default(),
            wasi: match limits.wasi {
                WasiGrant::None => None,
                WasiGrant::Virtual => {
                    let handles_max = usize::try_from(limits.handles_max).unwrap_or(usize::MAX);
                    Some(Box::new(WasiState::new(handles_max, files.clone())))
                }
            },
        }
    }

    /// The call into the component is over: what it printed without a line break is a line now.
    #[inline]
    pub fn finish_call(&mut self) {
        if let Some(wasi) = &mut self.wasi {
            wasi.finish_lines(&mut self.services);
        }
    }

    /// The services, at the price of one host call.
    pub fn call(&mut self) -> Result<&mut Services> {
        self.host_calls.spend()?;
        Ok(&mut self.services)
    }
}
