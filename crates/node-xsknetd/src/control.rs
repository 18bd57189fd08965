//! The control socket for JavaScript: messages in and out as bytes, with credentials and limits.

use std::io;
use std::mem;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{FnArgs, Function, PromiseRaw, Uint8Array, Unknown, spawn};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Status};
use napi_derive::napi;
use serde_json::json;
use tokio::sync::oneshot;
use xsknet_control::{
    Bounds, Ended, Event, Handle, InvalidMessage, Limits, Listener, Party, Rates, Reach, Shared, Trust, Words,
};

use crate::descriptors::Descriptors;
use crate::error::Failure;

/// Bytes that may wait for one client to read them.
const QUEUED_BYTES: NonZeroU32 = NonZeroU32::new(4 << 20).unwrap();

/// A client, as it was when it connected.
#[napi(object, object_from_js = false)]
pub struct Credentials {
    /// Its process; for logs only, since another may have the number by now.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

/// What is read, in the long run and at once. Every number is at least 1.
#[napi(object, object_to_js = false)]
pub struct ControlRates {
    /// Messages a second.
    pub messages: u32,
    /// Messages that are read at once after a quiet time.
    pub messages_at_once: u32,
    /// Bytes a second.
    pub bytes: u32,
    /// Bytes that are read at once after a quiet time.
    pub bytes_at_once: u32,
}

/// What one user may cost, over all its connections.
#[napi(object, object_to_js = false)]
pub struct ControlBounds {
    /// Connections.
    pub connections: u32,
    /// The longest message, in bytes; at most 65,536.
    pub longest: u32,
    /// What is read.
    pub rates: ControlRates,
}

/// What all users of one kind may cost together.
#[napi(object, object_to_js = false)]
pub struct ControlShared {
    /// Connections.
    pub connections: u32,
    /// What is read.
    pub rates: ControlRates,
}

/// Users, by their ids and by groups that they are in.
#[napi(object, object_to_js = false)]
pub struct ControlParty {
    /// User ids.
    pub uids: Vec<u32>,
    /// Group ids.
    pub gids: Vec<u32>,
}

/// Who may connect, and what clients may cost.
#[napi(object, object_to_js = false)]
pub struct ControlLimits {
    /// The users that the policy knows; root need not be named.
    pub trusted: ControlParty,
    /// The users whose messages may carry descriptors; root need not be named.
    pub descriptors: ControlParty,
    /// Of root.
    pub root: ControlBounds,
    /// Of users whose ids are trusted.
    pub holders: ControlBounds,
    /// Of users in a trusted group.
    pub members: ControlBounds,
    /// Of all these together.
    pub all_members: ControlShared,
    /// Of all others.
    pub strangers: ControlBounds,
    /// Of all these together.
    pub all_strangers: ControlShared,
    /// Messages of one connection that were delivered and are not yet done with.
    pub in_flight: u32,
    /// Messages that wait for a client to read them; one more, and it is cut off.
    pub queued_messages: u32,
    /// Milliseconds that a client may take until its first message.
    pub silence: u32,
    /// What a client gets before it is let go because there are too many.
    pub refusal: Option<Uint8Array>,
    /// What a client gets before it is let go because it sent nothing.
    pub silence_refusal: Option<Uint8Array>,
}

/// Called without keeping the process alive.
type OnConnection =
    ThreadsafeFunction<FnArgs<(Connection,)>, UnknownReturnValue, FnArgs<(Connection,)>, Status, false, true>;

/// The control socket. It does not keep the process alive.
#[napi]
pub struct ControlServer(Arc<Mutex<Stage>>);

/// Locked while the socket is made, so that closing it meanwhile waits until there is something to remove.
enum Stage {
    New,
    Running(Running),
    Over,
}

struct Running {
    stop: oneshot::Sender<()>,
    /// Resolves once the socket is gone.
    stopped: oneshot::Receiver<()>,
}

#[napi]
impl ControlServer {
    /// Nothing is done before [`listen`](Self::listen).
    #[napi(constructor)]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Stage::New)))
    }

    /// Makes the socket, for all users or for this process's user alone, and listens, once. Calls back with each client
    /// that there is room for.
    #[napi(
        ts_args_type = "path: string, allUsers: boolean, limits: ControlLimits, onConnection: (connection: \
             Connection) => void",
        ts_return_type = "Promise<void>"
    )]
    pub fn listen<'env>(
        &self,
        env: &'env Env,
        path: String,
        all_users: bool,
        limits: ControlLimits,
        on_connection: OnConnection,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let (limits, trust, words) = limits.checked()?;
        let reach = if all_users { Reach::AllUsers } else { Reach::Owner };
        let stage = Arc::clone(&self.0);
        env.spawn_future(async move {
            let mut stage = lock(&stage);
            if !matches!(*stage, Stage::New) {
                let message = "the control socket was opened or closed before".to_owned();
                return Err(Failure::new("INTERNAL", message, json!({})).into());
            }
            let listener = Listener::bind(Path::new(&path), reach, limits, trust, words).map_err(Failure::from)?;
            *stage = Stage::Running(run(listener, on_connection));
            Ok(())
        })
    }

    /// Stops listening and removes the socket. Connections live on. A second call does nothing.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let stopped = self.stop();
        env.spawn_future(async {
            if let Some(stopped) = stopped {
                let _ = stopped.await;
            }
            Ok(())
        })
    }

    /// The same before it returns, for a process that is about to exit; also while the socket is being made.
    #[napi]
    pub fn close_now(&self) {
        if let Some(stopped) = self.stop() {
            let _ = stopped.blocking_recv();
        }
    }
}

impl ControlServer {
    fn stop(&self) -> Option<oneshot::Receiver<()>> {
        let Stage::Running(Running { stop, stopped }) = mem::replace(&mut *lock(&self.0), Stage::Over) else {
            return None;
        };
        // It fails only where the task has ended with its runtime, and the socket with it; so does waiting for the end
        // then.
        let _ = stop.send(());
        Some(stopped)
    }
}

/// Lets clients in until it is told to stop, or forgotten.
fn run(listener: Listener, on_connection: OnConnection) -> Running {
    let (stop, mut stopping) = oneshot::channel();
    let (done, stopped) = oneshot::channel();
    spawn(async move {
        loop {
            let accepted = tokio::select! {
                _ = &mut stopping => break,
                accepted = listener.accept() => accepted,
            };
            // Refused once JavaScript is being torn down; the connection is dropped then.
            on_connection.call((Connection::new(accepted),).into(), ThreadsafeFunctionCallMode::NonBlocking);
        }
        drop(listener);
        drop(on_connection);
        // No call waits if the server was forgotten.
        let _ = done.send(());
    });
    Running { stop, stopped }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ControlLimits {
    fn checked(self) -> Result<(Limits, Trust, Words), Failure> {
        let limits = Limits {
            root: self.root.checked()?,
            holders: self.holders.checked()?,
            members: self.members.checked()?,
            all_members: self.all_members.checked()?,
            strangers: self.strangers.checked()?,
            all_strangers: self.all_strangers.checked()?,
            in_flight: some("inFlight", self.in_flight)?,
            queued_messages: some("queuedMessages", self.queued_messages)?,
            queued_bytes: QUEUED_BYTES,
            silence: Duration::from_millis(self.silence.into()),
        };
        let trust = Trust { trusted: self.trusted.into(), descriptors: self.descriptors.into() };
        let bytes = |words: Option<Uint8Array>| words.map(|words| words.to_vec()).unwrap_or_default();
        Ok((limits, trust, Words { refusal: bytes(self.refusal), silence: bytes(self.silence_refusal) }))
    }
}

impl ControlBounds {
    fn checked(self) -> Result<Bounds, Failure> {
        Ok(Bounds {
            connections: some("connections", self.connections)?,
            longest: some("longest", self.longest)?,
            rates: self.rates.checked()?,
        })
    }
}

impl ControlShared {
    fn checked(self) -> Result<Shared, Failure> {
        Ok(Shared { connections: some("connections", self.connections)?, rates: self.rates.checked()? })
    }
}

impl ControlRates {
    fn checked(self) -> Result<Rates, Failure> {
        Ok(Rates {
            messages: some("messages", self.messages)?,
            messages_at_once: some("messagesAtOnce", self.messages_at_once)?,
            bytes: some("bytes", self.bytes)?,
            bytes_at_once: some("bytesAtOnce", self.bytes_at_once)?,
        })
    }
}

impl From<ControlParty> for Party {
    fn from(ControlParty { uids, gids }: ControlParty) -> Self {
        Self { uids: uids.into_iter().collect(), gids: gids.into_iter().collect() }
    }
}

fn some(what: &str, number: u32) -> Result<NonZeroU32, Failure> {
    let invalid = || {
        let message = format!("the limit `{what}` is 0, so that no client could be served");
        Failure::new("CONFIGURATION_INVALID", message, json!({ "limit": what }))
    };
    NonZeroU32::new(number).ok_or_else(invalid)
}

/// A client's connection. It does not keep the process alive.
#[napi]
pub struct Connection {
    credentials: xsknet_control::Credentials,
    longest: usize,
    sends_descriptors: bool,
    handle: Handle,
    /// Until it is started, or closed without.
    idle: Mutex<Option<xsknet_control::Connection>>,
}

/// How a connection ended.
#[napi(object)]
pub struct ConnectionEnd {
    /// The reason, for a program.
    #[napi(ts_type = "'gone' | 'closed' | 'not-reading' | 'silent' | 'failed'")]
    pub kind: String,
    /// The reason in words.
    pub reason: String,
}

impl From<Ended> for ConnectionEnd {
    fn from(ended: Ended) -> Self {
        Self { kind: ended.name().into(), reason: ended.to_string() }
    }
}

/// What JavaScript is notified of through one queue, so that the end comes last.
type Told = FnArgs<(Option<Uint8Array>, u32, Descriptors, Option<ConnectionEnd>)>;

impl Connection {
    fn new(connection: xsknet_control::Connection) -> Self {
        Self {
            credentials: connection.credentials().clone(),
            longest: connection.longest(),
            sends_descriptors: connection.sends_descriptors(),
            handle: connection.handle(),
            idle: Mutex::new(Some(connection)),
        }
    }

    fn take_idle(&self) -> Option<xsknet_control::Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[napi]
impl Connection {
    /// Who the client was when it connected.
    #[napi(getter)]
    pub fn credentials(&self) -> Credentials {
        let xsknet_control::Credentials { pid, uid, gid, groups } = self.credentials.clone();
        Credentials { pid, uid, gid, groups }
    }

    /// The longest message that it may send, in bytes.
    #[napi(getter)]
    pub fn longest(&self) -> u32 {
        number(self.longest)
    }

    /// Whether its messages may bring descriptors. Of others the kernel lets none through, where it can do that.
    #[napi(getter)]
    pub fn sends_descriptors(&self) -> bool {
        self.sends_descriptors
    }

    /// The network namespace that its process is in at this moment; for clients that may send descriptors.
    #[napi]
    pub fn namespace(&self) -> napi::Result<Descriptors> {
        let xsknet_control::Credentials { pid, uid, .. } = self.credentials;
        let untold = |cause: io::Error| {
            let why = match (cause.kind(), cause.raw_os_error()) {
                (_, Some(libc::ESRCH)) => "it has ended".to_owned(),
                (io::ErrorKind::NotConnected, _) => "its connection is over".to_owned(),
                (io::ErrorKind::Unsupported, _) => {
                    "this kernel does not tell it, or the user may not pass descriptors".to_owned()
                }
                _ => cause.to_string(),
            };
            let message = format!("the network namespace of process {pid} of user {uid} cannot be found: {why}");
            Failure::new("NAMESPACE_INVALID", message, json!({ "pid": pid, "uid": uid }))
                .hint("Connect from a process that lives as long as its ports; the daemon needs Linux 6.5 for this.")
        };
        Ok(Descriptors::new(vec![self.handle.namespace().map_err(untold)?]))
    }

    /// Begins to read, once. `onMessage` gets a message (`null` if it was longer than `longest`), its length, and the
    /// descriptors that came with it; no other message is read until they are closed or handed on. `onEnd` is called
    /// once, last.
    #[napi(
        ts_args_type = "onMessage: (message: Uint8Array | null, length: number, descriptors: Descriptors) => void, \
             onEnd: (end: ConnectionEnd) => void"
    )]
    pub fn start(
        &self,
        env: Env,
        on_message: Function<'_, FnArgs<(Option<Uint8Array>, u32, Unknown<'static>)>, UnknownReturnValue>,
        on_end: Function<'_, ConnectionEnd, UnknownReturnValue>,
    ) -> napi::Result<()> {
        let Some(mut connection) = self.take_idle() else {
            return Err(
                Failure::new("INTERNAL", "the connection was started or closed before".into(), json!({})).into()
            );
        };
        let (on_message, on_end) = (on_message.create_ref()?, on_end.create_ref()?);
        let dispatch = env.create_function_from_closure::<Told, _, _>("dispatch", move |call| {
            match call.get::<Option<ConnectionEnd>>(3)? {
                Some(end) => on_end.borrow_back(call.env)?.call(end)?,
                None => on_message.borrow_back(call.env)?.call((call.get(0)?, call.get(1)?, call.get(2)?).into())?,
            };
            Ok(())
        })?;
        let tell = dispatch.build_threadsafe_function::<Told>().weak::<true>().callee_handled::<false>().build()?;
        spawn(async move {
            loop {
                let (told, over) = match connection.next().await {
                    Event::Message { bytes, length, descriptors } => {
                        ((bytes.map(Uint8Array::new), number(length), descriptors.into(), None), false)
                    }
                    Event::Ended(ended) => ((None, 0, Descriptors::default(), Some(ended.into())), true),
                };
                let status = tell.call(told.into(), ThreadsafeFunctionCallMode::NonBlocking);
                // Refused once JavaScript is being torn down.
                if over || status != Status::Ok {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Sends a message, with the descriptors, which are taken and closed here once it has left. False: the connection
    /// is over, or is cut off now because too much waits for the client to read it.
    #[napi]
    pub fn send(&self, message: &[u8], descriptors: Option<&mut Descriptors>) -> napi::Result<bool> {
        let descriptors = descriptors.map(Descriptors::take).unwrap_or_default();
        Ok(self.handle.send(message.to_vec(), descriptors).map_err(Failure::from)?)
    }

    /// One message that was delivered has been dealt with, so that another may be.
    #[napi]
    pub fn done(&self) {
        self.handle.done();
    }

    /// Ends the connection once what was sent has left, within a second. No message is delivered any more.
    #[napi]
    pub fn close(&self) {
        self.handle.close();
        if let Some(mut connection) = self.take_idle() {
            spawn(async move { while !matches!(connection.next().await, Event::Ended(_)) {} });
        }
    }
}

/// A client of a thread of JavaScript that has ended sees the end.
impl Drop for Connection {
    fn drop(&mut self) {
        self.handle.close();
    }
}

fn number(length: usize) -> u32 {
    length.try_into().unwrap_or(u32::MAX)
}

impl From<InvalidMessage> for Failure {
    fn from(invalid: InvalidMessage) -> Self {
        let InvalidMessage { length, descriptors } = invalid;
        Self::new("MESSAGE_TOO_LONG", invalid.to_string(), json!({ "length": length, "descriptors": descriptors }))
    }
}
