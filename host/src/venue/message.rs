//! Reading one HTTP/1.1 message, kept as the bytes it came in.

use std::io;
use std::ops::Range;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Most headers that a message may have.
pub(super) const HEADERS_MAX: usize = 64;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Reply,
}

/// Limits of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) head_bytes_max: usize,
    pub(super) body_bytes_max: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    head_bytes: usize,
    /// What a request is for.
    pub(super) purpose: Purpose,
    /// Whether the sender closes the connection after it.
    pub(super) last: bool,
}

impl Message {
    /// Where the body lies in the bytes.
    pub(super) fn body(&self) -> Range<usize> {
        self.head_bytes..self.bytes.len()
    }
}

/// Why there is no message.
#[derive(Debug, Error)]
pub(super) enum MessageError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the connection ended in the middle of a message")]
    Incomplete,
    #[error("expected HTTP/1.1 with a content-length, found something else")]
    Unsupported,
    #[error("a message is larger than is taken here")]
    TooLarge,
}

/// What a request is for, by its method and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It changes something.
    Write,
    /// It asks about one order.
    Order,
    /// It asks about something else.
    Read,
}

impl Purpose {
    fn of(method: Option<&str>, path: Option<&str>) -> Self {
        match (method, path) {
            (Some("GET" | "HEAD"), Some(path)) if path.starts_with("/api/orders/") => Self::Order,
            (Some("GET" | "HEAD"), _) => Self::Read,
            _ => Self::Write,
        }
    }
}

/// What the head of a message says about the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    body_bytes: usize,
    purpose: Purpose,
    last: bool,
}

/// Reads the next message. `buffer` keeps what has come beyond it. `None` when the connection ended
/// between two messages.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    kind: Kind,
    limits: Limits,
) -> Result<Option<Message>, MessageError> {
    let mut head = parse(buffer, kind, limits)?;
    loop {
        if let Some(head) = head {
            let end = head.bytes + head.body_bytes;
            if buffer.len() >= end {
                let rest = buffer.split_off(end);
                let bytes = std::mem::replace(buffer, rest);
                return Ok(Some(Message {
                    bytes,
                    head_bytes: head.bytes,
                    purpose: head.purpose,
                    last: head.last,
                }));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(MessageError::Incomplete) };
        }
        if head.is_none() {
            head = parse(buffer, kind, limits)?;
        }
    }
}

fn parse(buffer: &[u8], kind: Kind, limits: Limits) -> Result<Option<Head>, MessageError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let (parsed, purpose, has_body) = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(buffer);
            (parsed, Purpose::of(request.method, request.path), true)
        }
        Kind::Reply => {
            let mut reply = httparse::Response::new(&mut headers);
            let parsed = reply.parse(buffer);
            (parsed, Purpose::Read, !matches!(reply.code, Some(204 | 304)))
        }
    };
    let bytes = match parsed {
        Ok(httparse::Status::Complete(bytes)) if bytes <= limits.head_bytes_max => bytes,
        Ok(httparse::Status::Partial) if buffer.len() <= limits.head_bytes_max => return Ok(None),
        Ok(_) => return Err(MessageError::TooLarge),
        Err(_) => return Err(MessageError::Unsupported),
    };
    let header = |name: &str| {
        headers.iter().take_while(|h| !h.name.is_empty()).find(|h| h.name.eq_ignore_ascii_case(name))
    };
    if header("transfer-encoding").is_some() {
        return Err(MessageError::Unsupported);
    }
    let length = header("content-length").and_then(|h| std::str::from_utf8(h.value).ok());
    let body_bytes = match (length.map(str::parse::<usize>), kind) {
        (Some(Ok(length)), _) => length,
        (None, Kind::Request) => 0,
        (None, Kind::Reply) if !has_body => 0,
        _ => return Err(MessageError::Unsupported),
    };
    if body_bytes > limits.body_bytes_max {
        return Err(MessageError::TooLarge);
    }
    let last = header("connection").is_some_and(|h| h.value.eq_ignore_ascii_case(b"close"));
    Ok(Some(Head { bytes, body_bytes: if has_body { body_bytes } else { 0 }, purpose, last }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { head_bytes_max: 256, body_bytes_max: 64 };

    async fn read_all(mut bytes: &[u8], kind: Kind) -> Result<Vec<Message>, MessageError> {
        let (mut buffer, mut messages) = (Vec::new(), Vec::new());
        while let Some(message) = read(&mut bytes, &mut buffer, kind, LIMITS).await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn messages_that_come_together_are_taken_apart() {
        let bytes =
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
        let messages = read_all(bytes, Kind::Request).await.unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(&messages[0].bytes[messages[0].body()], b"abc");
        assert!(
            messages[0].purpose == Purpose::Write
                && !messages[0].last
                && messages[1].purpose == Purpose::Read
                && messages[1].last
        );
        assert_eq!([messages[0].bytes.clone(), messages[1].bytes.clone()].concat(), bytes);
    }

    #[tokio::test]
    async fn a_reply_without_a_length_is_not_guessed_at() {
        let unsupported = [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "hello\r\n\r\n",
        ];
        for text in unsupported {
            let result = read_all(text.as_bytes(), Kind::Reply).await;
            assert!(matches!(result, Err(MessageError::Unsupported)), "{text}");
        }
        assert_eq!(read_all(b"HTTP/1.1 204 No Content\r\n\r\n", Kind::Reply).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn messages_are_bounded_and_whole() {
        let long_head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(300));
        let long_body = b"POST / HTTP/1.1\r\ncontent-length: 65\r\n\r\n";
        assert!(matches!(read_all(long_head.as_bytes(), Kind::Request).await, Err(MessageError::TooLarge)));
        assert!(matches!(read_all(long_body, Kind::Request).await, Err(MessageError::TooLarge)));
        let half = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab";
        assert!(matches!(read_all(half, Kind::Request).await, Err(MessageError::Incomplete)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for kind in [Kind::Request, Kind::Reply] {
                let _ = parse(&bytes, kind, LIMITS);
            }
        }
    }
}
