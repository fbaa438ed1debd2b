//! Streams: what is printed becomes log lines, and there is nothing to read but the files of a folder.

use super::{WRITE_BYTES_MAX, at_once};
use crate::plugin::store::StoreData;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

impl streams::Host for StoreData {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(&mut self.wasi().table, error)
    }
}

impl streams::HostInputStream for StoreData {
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        at_once(self.input(&stream)?.blocking_read(len)).map(|bytes| bytes.to_vec())
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::read(self, stream, len)
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        at_once(self.input(&stream)?.blocking_skip(len)).map(|skipped| skipped as u64)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostInputStream::skip(self, stream, len)
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        let wasi = self.wasi_call()?;
        wasi.table.get(&stream)?;
        wasi.ready()
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        self.wasi_call()?.table.delete(stream)?;
        Ok(())
    }
}

impl streams::HostOutputStream for StoreData {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        self.wasi_call().map_err(StreamError::Trap)?.table.get(&stream)?;
        Ok(WRITE_BYTES_MAX as u64)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.write_output(&stream, &bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.write_output(&stream, &bytes)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        self.write_zeroes_to(&stream, len)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.write_zeroes_to(&stream, len)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.wasi_call().map_err(StreamError::Trap)?.table.get(&stream)?;
        Ok(())
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::flush(self, stream)
    }

    /// From a file straight to the log is a use that nobody has.
    fn splice(
        &mut self,
        _: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        self.input(&from)?;
        Err(StreamError::Closed)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        streams::HostOutputStream::splice(self, to, from, len)
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        let wasi = self.wasi_call()?;
        wasi.table.get(&stream)?;
        wasi.ready()
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        let wasi = self.wasi_call()?;
        wasi.outputs.remove(&stream.rep());
        wasi.table.delete(stream)?;
        Ok(())
    }
}
