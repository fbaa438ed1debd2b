//! The network, of which there is none.

use crate::plugin::Services;
use crate::plugin::store::StoreData;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets;
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::bindings::sync::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult};

/// No host is looked up and no socket is made: whoever asks is told that access is denied.
fn denied<T>(called: Result<&mut Services>) -> SocketResult<T> {
    called.map_err(SocketError::trap)?;
    Err(sockets::network::ErrorCode::AccessDenied.into())
}

impl sockets::network::Host for StoreData {
    fn convert_error_code(&mut self, error: SocketError) -> Result<sockets::network::ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        error: Resource<streams::Error>,
    ) -> Result<Option<sockets::network::ErrorCode>> {
        self.call()?;
        sockets::network::Host::network_error_code(&mut self.sockets(), error)
    }
}

impl sockets::network::HostNetwork for StoreData {
    fn drop(&mut self, network: Resource<sockets::network::Network>) -> Result<()> {
        self.wasi_call()?.table.delete(network)?;
        Ok(())
    }
}

impl sockets::tcp_create_socket::Host for StoreData {
    fn create_tcp_socket(
        &mut self,
        _: sockets::network::IpAddressFamily,
    ) -> SocketResult<Resource<sockets::tcp::TcpSocket>> {
        denied(self.call())
    }
}

impl udp_create_socket::Host for StoreData {
    fn create_udp_socket(
        &mut self,
        _: sockets::network::IpAddressFamily,
    ) -> SocketResult<Resource<sockets::udp::UdpSocket>> {
        denied(self.call())
    }
}

impl sockets::ip_name_lookup::Host for StoreData {
    fn resolve_addresses(
        &mut self,
        _: Resource<sockets::network::Network>,
        _: String,
    ) -> SocketResult<Resource<sockets::ip_name_lookup::ResolveAddressStream>> {
        denied(self.call())
    }
}

impl sockets::ip_name_lookup::HostResolveAddressStream for StoreData {
    fn resolve_next_address(
        &mut self,
        _: Resource<sockets::ip_name_lookup::ResolveAddressStream>,
    ) -> SocketResult<Option<sockets::network::IpAddress>> {
        denied(self.call())
    }

    fn subscribe(
        &mut self,
        _: Resource<sockets::ip_name_lookup::ResolveAddressStream>,
    ) -> Result<Resource<DynPollable>> {
        self.wasi_call()?.ready()
    }

    fn drop(&mut self, stream: Resource<sockets::ip_name_lookup::ResolveAddressStream>) -> Result<()> {
        self.wasi_call()?.table.delete(stream)?;
        Ok(())
    }
}
