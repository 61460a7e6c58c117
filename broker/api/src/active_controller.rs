//! Finds the active controller among the quorum's addresses and keeps the channel to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// The metadata key in which a controller that is not active names the one that is.
pub const ACTIVE_CONTROLLER_KEY: &str = "foz-active-controller";

/// A controller that is cut off must not cost a broker its lease, so the next one is tried soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A controller that stands still, or is cut off, is noticed after the sum of both: before the lease ends that
/// the next active controller gives to everybody.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Controllers may be in the middle of an election: one round over all of them is not enough. Callers
/// that cannot wait so long drop the call.
const SEARCH_MAX: Duration = Duration::from_secs(10);
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Why no active controller could answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The active controller answered with an error of its own.
    #[error("the active controller answered {code:?}: {message}", code = .0.code(), message = .0.message())]
    Answered(Box<Status>),
    /// Nobody that is active could be reached.
    #[error("no active controller among {addresses}: {last}")]
    NoneActive {
        /// What was tried.
        addresses: String,
        /// The last refusal.
        last: String,
    },
}

/// A client that follows the active controller.
///
/// It tries the controller that last answered, follows the hint of one that is not active, else goes
/// round all addresses, beginning after the one that failed last. Cheap to share behind an `Arc`; connections are made when needed.
#[derive(Debug)]
pub struct ActiveController {
    addresses: Arc<AddressBook>,
    current: Mutex<Option<(String, Channel)>>,
    /// Where the next round begins.
    first: AtomicUsize,
}

impl ActiveController {
    /// `addresses` are `host:port` of the controllers' gRPC listeners, at least one.
    #[must_use]
    pub fn new(addresses: Vec<String>) -> Self {
        assert!(
            !addresses.is_empty(),
            "a quorum has at least one controller"
        );
        Self::with(Arc::new(AddressBook {
            all: RwLock::new(addresses.clone()),
            configured: addresses,
        }))
    }

    /// One with a channel of its own, that knows the same addresses: what either learns, both know.
    #[must_use]
    pub fn with_own_channel(&self) -> Self {
        Self::with(Arc::clone(&self.addresses))
    }

    fn with(addresses: Arc<AddressBook>) -> Self {
        Self {
            addresses,
            current: Mutex::new(None),
            first: AtomicUsize::new(0),
        }
    }

    /// The addresses it was made with, then those that it has learned.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.all()
    }

    /// Where the controllers are now, besides those that it was made with: the quorum may grow and shrink, and none of
    /// the first ones be left. It takes the place of what was learned before. None is no news.
    pub fn learn(&self, addresses: &[String]) {
        if !addresses.is_empty() {
            self.addresses.learn(addresses);
        }
    }

    /// Calls the active controller: `call` gets a channel and may be called several times, once for
    /// each controller tried. Only refusals of controllers that are not active, and failures to reach
    /// one, are tried again.
    ///
    /// A call that broke after it was sent is not repeated unless it is known not to have been
    /// carried out; the caller sees `UNAVAILABLE` and decides.
    pub async fn call<T, F, Fut>(&self, mut call: F) -> Result<T, CallError>
    where
        F: FnMut(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let mut last = String::from("not tried");
        let mut hint = None;
        let first = self.first.load(Ordering::Relaxed);
        let began = Instant::now();
        let addresses = self.addresses();
        for attempt in 0.. {
            if attempt > 0 && attempt % addresses.len() == 0 {
                if began.elapsed() > SEARCH_MAX {
                    break;
                }
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            let position = first.wrapping_add(attempt) % addresses.len();
            let candidate = self.candidate(hint.take(), &addresses[position]);
            let (address, channel) = match candidate.await {
                Ok(found) => found,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match call(channel.clone()).await {
                Ok(answer) => {
                    *self.current.lock().await = Some((address, channel));
                    return Ok(answer);
                }
                Err(status) if is_not_active(&status) => {
                    self.forget(&address).await;
                    last = format!("{address}: {}", status.message());
                    hint = active_hint(status.metadata()).filter(|active| *active != address);
                }
                Err(status) if never_sent(&status) => {
                    self.forget(&address).await;
                    last = format!("{address}: {}", status.message());
                }
                Err(status) => {
                    let status = with_open_outcome(status);
                    if status.code() == Code::Unavailable {
                        self.forget(&address).await;
                    }
                    return Err(CallError::Answered(Box::new(status)));
                }
            }
        }
        Err(CallError::NoneActive {
            addresses: addresses.join(","),
            last,
        })
    }

    async fn candidate(
        &self,
        hint: Option<String>,
        address: &str,
    ) -> Result<(String, Channel), String> {
        if let Some(address) = hint {
            return connect(address).await;
        }
        if let Some(current) = self.current.lock().await.clone() {
            return Ok(current);
        }
        let connected = connect(address.to_owned()).await;
        if connected.is_err() {
            self.try_last(address);
        }
        connected
    }

    /// The next round begins after this one.
    fn try_last(&self, address: &str) {
        let mut known = self.addresses().into_iter();
        if let Some(position) = known.position(|known| known == address) {
            self.first.store(position + 1, Ordering::Relaxed);
        }
    }

    async fn forget(&self, address: &str) {
        self.try_last(address);
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|(known, _)| known == address) {
            *current = None;
        }
    }
}

/// Where the controllers are.
#[derive(Debug)]
struct AddressBook {
    configured: Vec<String>,
    /// The configured ones first.
    all: RwLock<Vec<String>>,
}

impl AddressBook {
    fn all(&self) -> Vec<String> {
        let all = self.all.read();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, addresses: &[String]) {
        let mut all = self.configured.clone();
        let news = addresses.iter().filter(|it| !self.configured.contains(it));
        all.extend(news.cloned());
        if all != self.all() {
            *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
        }
    }
}

/// The refusal of a controller that is not active. `active` is the address of the one that is.
#[must_use]
pub fn not_active(active: Option<&str>) -> Status {
    let Some(active) = active else {
        return none_active(None);
    };
    let mut metadata = MetadataMap::new();
    if let Ok(value) = active.parse() {
        metadata.insert(ACTIVE_CONTROLLER_KEY, value);
    }
    let message = format!("not the active controller; {active} is");
    refusal(message, metadata)
}

/// The refusal of a controller that is not active and knows nobody who is; why, if it can tell.
#[must_use]
pub fn none_active(why: Option<&str>) -> Status {
    let mut message = "not the active controller, and none is known".to_owned();
    if let Some(why) = why {
        message = format!("{message}: {why}");
    }
    refusal(message, MetadataMap::new())
}

fn refusal(message: String, mut metadata: MetadataMap) -> Status {
    metadata.insert(
        NOT_ACTIVE_KEY,
        tonic::metadata::MetadataValue::from_static("true"),
    );
    Status::with_metadata(Code::FailedPrecondition, message, metadata)
}

/// Marks the refusal, so that no other FAILED_PRECONDITION is taken for it.
const NOT_ACTIVE_KEY: &str = "foz-not-active";

fn is_not_active(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition && status.metadata().contains_key(NOT_ACTIVE_KEY)
}

/// The channel had lost its connection and could not make another one.
fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A status that was made here and not sent by the controller: the connection broke under the call,
/// whatever code the library found for it. It may have been carried out.
fn with_open_outcome(status: Status) -> Status {
    if std::error::Error::source(&status).is_none() {
        return status;
    }
    Status::unavailable(status.message())
}

fn active_hint(metadata: &MetadataMap) -> Option<String> {
    metadata
        .get(ACTIVE_CONTROLLER_KEY)?
        .to_str()
        .ok()
        .map(ToOwned::to_owned)
}

async fn connect(address: String) -> Result<(String, Channel), String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("{address}: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{address}: {error}: {cause}")
    })?;
    Ok((address, channel))
}
