//! Sends requests over plain connections, and keeps what comes back.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use foz_protocol::frame::{self, LENGTH_BYTES};
use foz_records::Message;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Request;

use super::alike::alike;
use super::difference::Answers;
use super::shown::{Lines, lines};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What stands for an answer where there is none.
pub(super) const CONNECTION: &str = "connection";
const CLOSED: &str = "closed";
/// It is open, and nothing comes.
const SILENT: &str = "silent";
const CLIENT_ID: &str = "answers";

/// A client that asks one thing after the other.
#[derive(Debug)]
pub(crate) struct Asker {
    address: SocketAddr,
    stream: Option<TcpStream>,
    correlation_id: i32,
    /// What became of the last request that was not answered.
    unanswered: &'static str,
    answers: Answers,
}

impl Asker {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            correlation_id: 0,
            unanswered: CLOSED,
            answers: Answers::new(),
        }
    }

    /// What came back, by the names of the requests.
    pub(crate) fn into_answers(self) -> Answers {
        self.answers
    }

    /// Asks, and keeps the answer under the API's name, this one, and the version. `None` when the connection was
    /// closed instead, or nothing came in time.
    ///
    /// # Errors
    /// The request does not fit the version, or the name was used before.
    pub(crate) fn ask<Q>(
        &mut self,
        what: &str,
        version: i16,
        request: &Q,
    ) -> Result<Option<Q::Response>>
    where
        Q: Request + Debug,
        Q::Response: Debug,
    {
        let name = name_of(api_key(Q::KEY)?, what, version);
        let answer = self.call(version, request).with_context(|| name.clone())?;
        self.keep_answer(name, answer.as_ref())?;
        Ok(answer)
    }

    /// As [`ask`](Self::ask); what is kept is what this made of the answer: what no two brokers share may be deep inside.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and those of what is made of the answer.
    pub(crate) fn ask_shown<Q>(
        &mut self,
        what: &str,
        version: i16,
        request: &Q,
        show: impl FnOnce(&mut Q::Response) -> Result<()>,
    ) -> Result<()>
    where
        Q: Request + Debug,
        Q::Response: Debug,
    {
        let name = name_of(api_key(Q::KEY)?, what, version);
        let mut answer = self.call(version, request).with_context(|| name.clone())?;
        if let Some(answer) = &mut answer {
            show(answer).with_context(|| name.clone())?;
        }
        self.keep_answer(name, answer.as_ref())
    }

    /// As [`ask`](Self::ask), with messages of which `kafka-protocol` lacks this version.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) fn ask_newer<Q: Message, A: Message + Debug>(
        &mut self,
        key: ApiKey,
        what: &str,
        version: i16,
        request: &Q,
    ) -> Result<()> {
        let name = name_of(key, what, version);
        self.correlation_id += 1;
        let body = request.encode(version)?;
        let frame = frame::request_of(key, version, self.correlation_id, CLIENT_ID, &body);
        let body = self.body(key, version, &frame);
        let answer = match body.with_context(|| name.clone())? {
            Some(body) => Some(A::decode(version, &body).with_context(|| name.clone())?),
            None => None,
        };
        self.keep_answer(name, answer.as_ref())
    }

    /// Asks in each of these versions.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) fn ask_each<Q>(
        &mut self,
        what: &str,
        versions: impl IntoIterator<Item = i16>,
        request: impl Fn(i16) -> Q,
    ) -> Result<()>
    where
        Q: Request + Debug,
        Q::Response: Debug,
    {
        for version in versions {
            self.ask(what, version, &request(version))?;
        }
        Ok(())
    }

    /// Asks until the answer is this; keeps nothing.
    ///
    /// # Errors
    /// It never is.
    pub(crate) fn until<Q: Request>(
        &mut self,
        version: i16,
        request: &Q,
        is_ready: impl Fn(&Q::Response) -> bool,
    ) -> Result<Q::Response> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if let Some(answer) = self.call(version, request)?
                && is_ready(&answer)
            {
                return Ok(answer);
            }
            ensure!(
                Instant::now() < deadline,
                "key {} never answers what is waited for",
                Q::KEY
            );
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// Sends these bytes behind their length, and keeps whether there is an answer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) fn ask_raw(&mut self, what: &str, bytes: &[u8]) -> Result<()> {
        let mut frame = u32::try_from(bytes.len())?.to_be_bytes().to_vec();
        frame.extend_from_slice(bytes);
        let state = match self.exchange(&frame)? {
            Some(_) => "answered",
            None => self.unanswered,
        };
        self.keep(
            format!("raw, {what}"),
            Lines::from([(CONNECTION.to_owned(), state.to_owned())]),
        )
    }

    fn keep(&mut self, name: String, lines: Lines) -> Result<()> {
        ensure!(
            !self.answers.contains_key(&name),
            "two requests are called {name:?}"
        );
        self.answers.insert(name, lines);
        Ok(())
    }

    fn keep_answer(&mut self, name: String, answer: Option<&impl Debug>) -> Result<()> {
        let kept = match answer {
            Some(answer) => {
                let lines = lines(&format!("{answer:?}")).with_context(|| name.clone())?;
                let alike = lines
                    .iter()
                    .map(|(field, value)| (field.clone(), alike(field, value)));
                alike.collect()
            }
            None => Lines::from([(CONNECTION.to_owned(), self.unanswered.to_owned())]),
        };
        self.keep(name, kept)
    }

    fn call<Q: Request>(&mut self, version: i16, request: &Q) -> Result<Option<Q::Response>> {
        self.correlation_id += 1;
        let frame = frame::encode_request(version, self.correlation_id, CLIENT_ID, request)?;
        let Some(body) = self.body(api_key(Q::KEY)?, version, &frame)? else {
            return Ok(None);
        };
        Ok(Some(frame::decode_response(version, body)?))
    }

    /// Of the answer to this frame; `None` when there is none, and `unanswered` says why.
    fn body(&mut self, key: ApiKey, version: i16, frame: &[u8]) -> Result<Option<Bytes>> {
        let Some(answer) = self.exchange(frame)? else {
            return Ok(None);
        };
        let (correlation_id, body) = frame::parse_response(key, version, &answer)?;
        ensure!(
            correlation_id == self.correlation_id,
            "an answer to another request"
        );
        Ok(Some(body))
    }

    /// The next frame; `None` when the connection is closed or nothing comes in time: the next request has a new one.
    fn exchange(&mut self, frame: &[u8]) -> Result<Option<Bytes>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address)?,
        };
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(frame)?;
        let mut length = [0; LENGTH_BYTES];
        match stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                self.unanswered = CLOSED;
                return Ok(None);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.unanswered = SILENT;
                return Ok(None);
            }
            Err(error) => bail!("no answer: {error}"),
        }
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer)?;
        self.stream = Some(stream);
        Ok(Some(Bytes::from(answer)))
    }
}

fn api_key(key: i16) -> Result<ApiKey> {
    ApiKey::try_from(key).map_err(|()| anyhow::anyhow!("key {key}"))
}

fn name_of(key: ApiKey, what: &str, version: i16) -> String {
    format!("{key:?}, {what}, v{version}")
}
