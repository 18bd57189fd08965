//! An adopted socket as JavaScript sees it: its adoption, its figures, its end. What is called once a batch is in
//! [`hot`](crate::hot).

use std::io;
use std::rc::Rc;

use napi::bindgen_prelude::{Env, Function};
use napi_derive::napi;
use xsknet_path::{Key, Parcel, QueueSocket, SocketPath, channel};
use xsknet_xsk::DeviceState;

use crate::description::SocketDescription;
use crate::descriptors::Descriptors;
use crate::failure::Failure;
use crate::hand_over::{Correspondence, GIVEN};
use crate::hot::HotPath;
use crate::poll::Poll;
use crate::state::State;
use crate::statistics::{ChunkCounts, KernelStatistics, SocketCounters};

/// Takes over bound sockets: exactly two descriptors for each, the XSK and its UMEM, and three more for one with BPF
/// rings, their control, wake-up and program. All are closed if one cannot be.
#[napi]
pub fn adopt(
    env: Env,
    descriptors: &mut Descriptors,
    descriptions: Vec<SocketDescription>,
) -> napi::Result<Vec<AdoptedSocket>> {
    let mut files = descriptors.take_all().into_iter();
    let wanted: usize = descriptions.iter().map(SocketDescription::descriptors).sum();
    let count = files.len();
    if count != wanted {
        let what = format!("the sockets of this port come as {wanted} descriptors, not as {count}");
        return Err(Failure::new("SOCKET_REFUSED", what).into());
    }
    let mut adopted = Adopted(Vec::with_capacity(descriptions.len()));
    for description in descriptions {
        adopted.0.push(AdoptedSocket::of(&env, description.adopt(&mut files)?)?);
    }
    Ok(std::mem::take(&mut adopted.0))
}

/// Sockets that are closed with this object unless they are taken out.
struct Adopted(Vec<AdoptedSocket>);

impl Drop for Adopted {
    fn drop(&mut self) {
        for socket in &self.0 {
            socket.state.poll(Poll::close);
        }
    }
}

/// Takes over a socket that another thread has given away by [`AdoptedSocket::hand_over`]. `on_letter` is called with
/// what that thread posts, and with null when it is gone. Null where there is no socket under this key, or it
/// has been taken already.
#[napi]
pub fn take_over(
    env: Env,
    key: Vec<u32>,
    #[napi(ts_arg_type = "(letter: string | null) => void")] on_letter: Function<'_, (), ()>,
) -> napi::Result<Option<AdoptedSocket>> {
    let Ok(key) = Key::try_from(key) else { return Ok(None) };
    let Some(Parcel { socket, channel }) = GIVEN.take(&key) else { return Ok(None) };
    let state = State::open(&env, SocketPath::of_socket(socket))?;
    if let Err(error) = state.correspond(channel, on_letter) {
        state.poll(Poll::close);
        return Err(error);
    }
    Ok(Some(AdoptedSocket { state }))
}

/// A socket that this process has taken over.
#[napi]
pub struct AdoptedSocket {
    pub(crate) state: Rc<State>,
}

impl AdoptedSocket {
    /// The binding of a socket.
    pub(crate) fn of(env: &Env, socket: impl Into<QueueSocket>) -> napi::Result<Self> {
        Ok(Self { state: State::open(env, SocketPath::of_socket(socket))? })
    }
}

#[napi]
impl AdoptedSocket {
    /// Lends the memory to JavaScript and makes the functions. Once. What is queued and is not a packet of this MTU is
    /// refused from now on.
    #[napi]
    pub fn open<'env>(&self, env: &'env Env, on_ready: Function<'_, u32, ()>, mtu: u32) -> napi::Result<HotPath<'env>> {
        let state = &self.state;
        if !state.open_once(&on_ready)? {
            return Err(Failure::new("INTERNAL", "a socket is opened once").into());
        }
        state.with(|path| {
            path.set_mtu(mtu);
            Ok(())
        })?;
        HotPath::of(env, state)
    }

    /// Asks the kernel how the device is.
    #[napi(ts_return_type = "'up' | 'down' | 'gone'")]
    pub fn check(&self) -> napi::Result<&'static str> {
        Ok(self.state.with(|path| {
            Ok(match path.rings().device() {
                DeviceState::Up => "up",
                DeviceState::Down => "down",
                DeviceState::Gone => "gone",
            })
        })?)
    }

    /// How many chunks each owner has.
    #[napi]
    pub fn chunks(&self) -> napi::Result<ChunkCounts> {
        Ok(self.state.with(|path| {
            path.settle()?;
            Ok(path.chunks().into())
        })?)
    }

    /// What the socket has done.
    #[napi]
    pub fn counters(&self) -> napi::Result<SocketCounters> {
        Ok(self.state.with(|path| {
            path.settle()?;
            Ok(path.rings().counters().into())
        })?)
    }

    /// What the kernel has counted. A system call.
    #[napi]
    pub fn statistics(&self) -> napi::Result<KernelStatistics> {
        Ok(self.state.with(|path| {
            let kernel = path.rings().statistics().map_err(|cause| {
                Failure::new("KERNEL_REFUSED", "asking for the socket's statistics failed").because_of(&cause)
            })?;
            Ok(kernel.into())
        })?)
    }

    /// Stops everything at once. In a later turn of the loop the memory is detached, then the descriptors are closed,
    /// then the callback comes. A second call does nothing, its callback never comes.
    #[napi]
    pub fn close(&self, on_closed: Function<'_, (), ()>) -> napi::Result<()> {
        self.state.close(&on_closed)
    }
}

/// Why a socket stays in its thread: the ledger of a UMEM is its thread's.
fn shares_its_umem() -> Failure {
    Failure::new("NOT_SUPPORTED", "a queue whose UMEM is shared cannot be handed over")
        .hint("Open the port without `umemOf`.")
}

#[napi]
impl AdoptedSocket {
    /// Throws what `hand_over` would where others share the UMEM. Nothing has changed then.
    #[napi]
    pub fn check_hand_over(&self) -> napi::Result<()> {
        Ok(self.state.with(|path| if path.is_shared() { Err(shares_its_umem()) } else { Ok(()) })?)
    }

    /// Gives the socket away: what it lent to this thread is detached, and the first thread that names the key in
    /// [`take_over`] has it. From then on only `post` and `recall` are of use here. `on_letter` is called with what
    /// that thread posts, and null when the socket has been closed.
    #[napi(ts_return_type = "[number, number, number, number]")]
    pub fn hand_over(
        &self,
        #[napi(ts_arg_type = "(letter: string | null) => void")] on_letter: Function<'_, (), ()>,
    ) -> napi::Result<Vec<u32>> {
        let state = &self.state;
        let refused = |what: &str, cause: &io::Error| Failure::new("KERNEL_REFUSED", what).because_of(cause);
        let (ours, theirs) =
            channel().map_err(|cause| refused("two threads cannot be connected by an eventfd", &cause))?;
        let Some(path) = state.take_path() else {
            return Err(Failure::new("PORT_CLOSED", "the port's socket has been closed").into());
        };
        let socket = match path.into_socket() {
            Ok(socket) => socket,
            Err(path) => {
                state.put_path(path);
                return Err(shares_its_umem().into());
            }
        };
        // Before another thread has them.
        state.let_go();
        let parcel = Parcel { socket, channel: theirs };
        state.correspond(ours, on_letter)?;
        let key = GIVEN.give(parcel).map_err(|cause| refused("a key for a socket cannot be made", &cause))?;
        state.with_correspondence(|correspondence| correspondence.sent(key));
        Ok(key.into())
    }

    /// Frees the chunks that the socket had when it was closed, for others that share its UMEM: nobody has a descriptor
    /// of it any more.
    #[napi]
    pub fn reclaim(&self) {
        if let Some(closing) = self.state.take_closing() {
            closing.reclaim();
        }
    }

    /// Writes to the thread at the other end: the one that has the socket, or that it came from. Nothing happens once
    /// that is gone.
    #[napi]
    pub fn post(&self, letter: String) {
        self.state.with_correspondence(|correspondence| correspondence.post(letter));
    }

    /// Closes a socket that was given away and that nobody has taken yet.
    #[napi]
    pub fn recall(&self) {
        self.state.with_correspondence(Correspondence::recall);
    }
}
