//! Linear memories that can be put back to the snapshot: a private mapping of the image, and the list of the pages that were ever written. A page
//! that was written once stays in place and is overwritten from the image, so that rewinding costs a copy of what the plugin uses, no page faults
//! and no system call but the one that asks whether new pages were written (docs/decisions/0012-rewound-instances.md).

#![expect(
    unsafe_code,
    reason = "maps memory for wasmtime; the reasons why it is sound stand at each block"
)]

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    ptr::{NonNull, copy_nonoverlapping as copy},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::pwrite,
    mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap},
};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

const PAGE: usize = 4096;
/// Most pages that are kept in place between requests. What writes more is made anew.
const PAGES_MAX: usize = 256;
/// Unit in which a memory is compared with its image, in bytes: a cache line.
const BLOCK: usize = 64;
/// Most blocks of a [`Delta`], 64 KiB of them.
const BLOCKS_MAX: usize = 1024;
type Block = [u8; BLOCK];
type Page = [Block; PAGE / BLOCK];
/// Bits of an entry in `/proc/self/pagemap` (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE: u64 = 1 << 61;

/// Address space of one memory.
struct Region {
    base: NonNull<u8>,
    /// Most bytes that it can grow to.
    reserved: usize,
    /// With the guard behind them.
    mapped: usize,
    /// The mapping is in doubt and left alone.
    lost: AtomicBool,
    size: AtomicUsize,
    grown: AtomicBool,
    live: Arc<AtomicUsize>,
}

// SAFETY: the region is plain memory that is unmapped when the last owner goes; who may write to it when is decided by the store that owns it.
unsafe impl Send for Region {}
// SAFETY: as above; the fields that change are atomics.
unsafe impl Sync for Region {}

impl Region {
    fn map(minimum: usize, reserved: usize, guard: usize, live: &Arc<AtomicUsize>) -> io::Result<Self> {
        let mapped = reserved + guard;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anybody has.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let region = Self {
            base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            reserved,
            mapped,
            lost: AtomicBool::new(false),
            size: AtomicUsize::new(0),
            grown: AtomicBool::new(false),
            live: Arc::clone(live),
        };
        live.fetch_add(1, Relaxed);
        region.open(minimum)?;
        Ok(region)
    }

    /// Makes the first `size` bytes readable and writable.
    fn open(&self, size: usize) -> io::Result<()> {
        if size > self.reserved {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if size > 0 {
            // SAFETY: the range is inside our own mapping and only gains rights.
            unsafe {
                mprotect(
                    self.base.as_ptr().cast(),
                    size,
                    MprotectFlags::READ | MprotectFlags::WRITE,
                )
            }?;
        }
        self.size.store(size, Relaxed);
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
        if self.lost.load(Relaxed) {
            return;
        }
        // SAFETY: the mapping is ours, and the last owner is gone.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.mapped) } {
            tracing::error!(%error, "the memory of an instance could not be unmapped");
        }
    }
}

/// The owner of a region on wasmtime's side.
struct Linear(Arc<Region>);

// SAFETY: `as_ptr` is the start of `reserved` bytes that never move and that nobody else touches while a store runs (`Rewind` does so between calls
// only); what lies behind `byte_size` has no access rights.
unsafe impl LinearMemory for Linear {
    fn byte_size(&self) -> usize {
        self.0.size.load(Relaxed)
    }

    fn byte_capacity(&self) -> usize {
        self.0.reserved
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        self.0.grown.store(true, Relaxed);
        self.0.open(size)?;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }
}

thread_local! {
    /// The memories that this thread has made for the instance in the making.
    static MADE: RefCell<Vec<Arc<Region>>> = const { RefCell::new(Vec::new()) };
    /// Page faults of this thread when it was last asked.
    static FAULTS: Cell<Option<i64>> = const { Cell::new(None) };
    /// Number of this thread, never given twice.
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Relaxed)
    };
}

/// Number of this thread.
pub(crate) fn thread() -> u64 {
    THREAD.with(|number| *number)
}

/// The part of this thread, which it shares with others only when there are more threads than parts.
pub(crate) fn of_thread<T, const PARTS: usize>(parts: &[T; PARTS]) -> &T {
    #[expect(clippy::indexing_slicing, reason = "the index is a remainder of the length")]
    &parts[(thread() % PARTS as u64) as usize]
}

/// Makes memories for wasmtime and counts them.
pub(crate) struct Creator(Arc<AtomicUsize>);

impl Creator {
    pub(crate) fn new(live: &Arc<AtomicUsize>) -> Self {
        Self(Arc::clone(live))
    }
}

// SAFETY: see `Linear`; new anonymous memory is zero, and `reserved` covers the guard.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let reserved = reserved.or(maximum).unwrap_or(minimum).max(minimum);
        let region = Region::map(minimum, reserved, guard, &self.0).map_err(|error| error.to_string())?;
        let region = Arc::new(region);
        MADE.with_borrow_mut(|made| made.push(Arc::clone(&region)));
        Ok(Box::new(Linear(region)))
    }
}

/// What a memory holds when an instance has just been made: a file in memory with a hole for every page of zeros.
pub(crate) struct Image {
    file: OwnedFd,
    map: NonNull<u8>,
    size: usize,
    /// True for pages of zeros.
    holes: Vec<bool>,
}

// SAFETY: the mapping is only ever read.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    fn take(region: &Region) -> io::Result<Self> {
        let size = region.size.load(Relaxed);
        let file = memfd_create("edgeward-image", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size as u64)?;
        // SAFETY: the first `size` bytes are readable, and the store that may write to them is ours and rests.
        let bytes = unsafe { std::slice::from_raw_parts(region.base.as_ptr(), size) };
        let mut holes = Vec::with_capacity(size / PAGE);
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            let zero = page.iter().all(|byte| *byte == 0);
            holes.push(zero);
            if !zero {
                let mut done = 0;
                while let Some(rest) = page.get(done..).filter(|rest| !rest.is_empty()) {
                    done += pwrite(&file, rest, (number * PAGE + done) as u64)?;
                }
            }
        }
        // SAFETY: a new mapping at an address of the kernel's choice.
        let map = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        Ok(Self {
            file,
            map: NonNull::new(map.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            size,
            holes,
        })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody reads it any more.
        if let Err(error) = unsafe { munmap(self.map.as_ptr().cast(), self.size) } {
            tracing::error!(%error, "an image could not be unmapped");
        }
    }
}

/// What a memory holds that its image does not: number and content of blocks.
#[derive(Debug)]
pub(crate) struct Delta(Vec<(u32, Block)>);

/// Puts the memory of one instance back. Belongs to whoever owns the instance's store.
pub(crate) struct Rewind {
    region: Arc<Region>,
    image: Arc<Image>,
    /// Pages that were ever written, in order.
    written: Vec<u32>,
    /// Page faults of the thread when `written` was last complete.
    faults: Option<i64>,
    thread: u64,
}

/// Forgets memories of instances that were not made to the end.
pub(crate) fn begin() {
    MADE.with_borrow_mut(Vec::clear);
}

impl Rewind {
    /// For the instance that this thread has just made after [`begin`], without waiting in between; `image` is made from it if it is the first one.
    ///
    /// # Errors
    /// It has not exactly one memory, or a system call failed.
    pub(crate) fn new(image: &Mutex<Option<Arc<Image>>>) -> io::Result<Self> {
        let mut made = MADE.take();
        let (Some(region), None) = (made.pop(), made.pop()) else {
            return Err(io::Error::other("the instance has not one memory"));
        };
        let size = region.size.load(Relaxed);
        let image = {
            let mut image = image.lock();
            match &*image {
                Some(image) => Arc::clone(image),
                None => Arc::clone(image.insert(Arc::new(Image::take(&region)?))),
            }
        };
        if size != image.size {
            return Err(io::Error::other(
                "the instance's memory is not as large as the image",
            ));
        }
        // SAFETY: the range is inside our own mapping, the store that uses it is ours and rests, and the new content is the same as the old.
        let mapped = unsafe {
            mmap(
                region.base.as_ptr().cast(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED,
                &image.file,
                0,
            )
        };
        if let Err(error) = mapped {
            // the old mapping may be gone already, and others may have the addresses by now
            region.lost.store(true, Relaxed);
            return Err(error.into());
        }
        Ok(Self {
            region,
            image,
            written: Vec::new(),
            faults: FAULTS.get(),
            thread: thread(),
        })
    }

    /// To be called before an instance is used: from here on page faults of this thread tell of new pages.
    pub(crate) fn start(&mut self) {
        self.faults = FAULTS.get();
        self.thread = thread();
    }

    /// Puts everything back as it was when the instance was made; false when that cannot be done and the instance has to go.
    ///
    /// `moved` says that the instance ran on other threads, too.
    pub(crate) fn rewind(&mut self, moved: bool) -> bool {
        self.with_written(moved, |rewind| {
            for page in &rewind.written {
                // SAFETY: see `with_written`. Writing only what differs takes less time than copying the page.
                for (own, original) in unsafe { rewind.pairs(*page) } {
                    if differ(own, original) {
                        *own = *original;
                    }
                }
            }
        })
        .is_some()
    }

    /// Takes out what an exchange has left in the memory and puts everything back, so that the instance can serve others until that exchange goes
    /// on. `None` when it cannot be done or is too much: then the memory is as it was, and the exchange has to keep the instance.
    ///
    /// `moved` as in [`Rewind::rewind`].
    pub(crate) fn take(&mut self, moved: bool) -> Option<Delta> {
        self.with_written(moved, |rewind| {
            let mut blocks = Vec::with_capacity(BLOCKS_MAX / 16);
            for page in &rewind.written {
                let first = page * (PAGE / BLOCK) as u32;
                // SAFETY: see `with_written`.
                for (number, (own, original)) in (first..).zip(unsafe { rewind.pairs(*page) }) {
                    if differ(own, original) {
                        blocks.push((number, *own));
                    }
                }
                if blocks.len() > BLOCKS_MAX {
                    return None;
                }
            }
            for (number, _) in &blocks {
                let at = *number as usize * BLOCK;
                // SAFETY: the blocks are of pages that were looked at.
                unsafe { copy(rewind.original(at), rewind.own(at), BLOCK) };
            }
            Some(Delta(blocks))
        })
        .flatten()
    }

    /// Puts what was taken out of an instance into another one of the same version that is as new. To be called after [`Rewind::start`].
    pub(crate) fn give(&mut self, delta: &Delta) {
        for (number, content) in &delta.0 {
            // SAFETY: the store that uses the region rests, and images of a version are of one size, which is the region's.
            unsafe { copy(content.as_ptr(), self.own(*number as usize * BLOCK), BLOCK) };
        }
    }

    /// Runs `work` with the list of all pages that were ever written; they are inside of the region's size, which is the image's, and the store
    /// rests. `None` when the list cannot be had, or is too long.
    fn with_written<T>(&mut self, moved: bool, work: impl FnOnce(&Self) -> T) -> Option<T> {
        if self.region.grown.load(Relaxed) {
            return None;
        }
        let faults = faults();
        FAULTS.set(faults);
        // a page that is written for the first time is a page fault of the thread that writes (mm_account_fault in the kernel)
        let complete = !moved && faults.is_some() && faults == self.faults && self.thread == thread();
        if !complete && (self.scan().is_err() || self.written.len() > PAGES_MAX) {
            return None;
        }
        let result = work(self);
        if !complete {
            // looking and copying may have faulted, which tells nothing of the guest
            FAULTS.set(self::faults());
        }
        Some(result)
    }

    /// Blocks of a page beside what they were in the beginning.
    ///
    /// # Safety
    /// The page is inside of the region, and nobody else uses it while the iterator lives.
    unsafe fn pairs(&self, page: u32) -> impl Iterator<Item = (&mut Block, &Block)> {
        let at = page as usize * PAGE;
        // SAFETY: the caller's word for the page; nobody writes to images, and they are other mappings.
        let (own, original) = unsafe {
            (
                &mut *self.own(at).cast::<Page>(),
                &*self.original(at).cast::<Page>(),
            )
        };
        own.iter_mut().zip(original)
    }

    /// Where byte `at` of the memory is.
    fn own(&self, at: usize) -> *mut u8 {
        self.region.base.as_ptr().wrapping_add(at)
    }

    /// Where what byte `at` was in the beginning is, with the rest of its page.
    fn original(&self, at: usize) -> *const u8 {
        static ZEROS: [u8; PAGE] = [0; PAGE];
        if self.image.holes.get(at / PAGE).copied().unwrap_or(true) {
            ZEROS.as_ptr().wrapping_add(at % PAGE)
        } else {
            self.image.map.as_ptr().wrapping_add(at)
        }
    }

    /// Finds the pages that are the instance's own.
    fn scan(&mut self) -> io::Result<()> {
        let count = self.image.size / PAGE;
        let mut entries = vec![0; count * 8];
        let first = self.region.base.as_ptr() as usize / PAGE;
        pagemap()?.read_exact_at(&mut entries, first as u64 * 8)?;
        self.written.clear();
        for (page, entry) in (0..).zip(entries.as_chunks().0) {
            let entry = u64::from_le_bytes(*entry);
            if entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0 {
                self.written.push(page);
            }
        }
        Ok(())
    }
}

/// Whether two blocks differ; as a chain of bits, which becomes a few vector instructions where comparing arrays is a call.
fn differ(one: &Block, other: &Block) -> bool {
    one.as_chunks()
        .0
        .iter()
        .zip(other.as_chunks().0)
        .fold(0, |bits, (one, other)| {
            bits | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))
        })
        != 0
}

/// `/proc/self/pagemap`, open since it was first asked for.
///
/// # Errors
/// It is not there: another system, or a container without `/proc`.
fn pagemap() -> io::Result<&'static File> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    FILE.get_or_init(|| File::open("/proc/self/pagemap").ok())
        .as_ref()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Whether this system tells what rewinding needs: which pages were written, and that one was.
///
/// # Errors
/// What is missing.
pub(crate) fn usable() -> io::Result<()> {
    if rustix::param::page_size() != PAGE {
        return Err(io::Error::other("pages are not of 4 KiB"));
    }
    pagemap()?;
    let region = Region::map(PAGE, PAGE, 0, &Arc::default())?;
    let before = faults();
    // SAFETY: the page is ours, readable and writable.
    unsafe { region.base.as_ptr().write_volatile(1) };
    if before.is_none() || before == faults() {
        return Err(io::Error::other("page faults are not counted"));
    }
    Ok(())
}

/// Page faults of this thread so far, where the system counts them.
fn faults() -> Option<i64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is large enough.
    let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: all zeros is a valid value of it.
    let usage = unsafe { usage.assume_init() };
    (status == 0).then_some(usage.ru_minflt + usage.ru_majflt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: usize = 300;

    /// A memory as wasmtime would hold it, with its way back.
    struct Tested {
        memory: Box<dyn LinearMemory>,
        rewind: Rewind,
    }

    fn made(content: &[(usize, u8)], image: &Mutex<Option<Arc<Image>>>) -> Tested {
        begin();
        let kind = wasmtime::MemoryTypeBuilder::new().min(1).build().unwrap();
        let mut memory = Creator::new(&Arc::default())
            .new_memory(kind, PAGES * PAGE, None, Some(PAGES * PAGE * 2), PAGE)
            .unwrap();
        for (at, byte) in content {
            bytes(&mut *memory)[*at] = *byte;
        }
        let rewind = Rewind::new(image).unwrap();
        Tested { memory, rewind }
    }

    fn bytes(memory: &mut dyn LinearMemory) -> &mut [u8] {
        // SAFETY: the memory is this test's alone, and that many bytes of it are readable and writable.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn whatever_was_written_is_as_it_was() {
        let content = [(0, 1), (PAGE * 7 + 5, 2), (PAGE * PAGES - 1, 3)];
        let image = Mutex::default();
        let mut first = made(&content, &image);
        let mut second = made(&content, &image);
        let expected = bytes(&mut *first.memory).to_vec();
        assert_eq!(bytes(&mut *second.memory), expected, "both start from the image");
        for round in 0..200 {
            for tested in [&mut first, &mut second] {
                tested.rewind.start();
                for _ in 0..round % 7 {
                    let at = fastrand::usize(..PAGE * PAGES);
                    bytes(&mut *tested.memory)[at] = fastrand::u8(..);
                }
            }
            for tested in [&mut first, &mut second] {
                if tested.rewind.rewind(false) {
                    assert_eq!(bytes(&mut *tested.memory), expected, "round {round}");
                } else {
                    assert!(tested.rewind.written.len() > PAGES_MAX);
                    *tested = made(&content, &image);
                }
            }
        }
    }

    #[test]
    fn what_an_exchange_left_goes_on_in_another_instance() {
        let content = [(0, 1), (PAGE * 7 + 5, 2), (PAGE * PAGES - 1, 3)];
        let image = Mutex::default();
        let mut first = made(&content, &image);
        let mut second = made(&content, &image);
        let original = bytes(&mut *first.memory).to_vec();
        for round in 0..100 {
            first.rewind.start();
            for _ in 0..round % 9 {
                let at = fastrand::usize(..PAGE * 64);
                bytes(&mut *first.memory)[at] = fastrand::u8(..);
            }
            let left = bytes(&mut *first.memory).to_vec();
            let delta = first.rewind.take(false).unwrap();
            assert_eq!(bytes(&mut *first.memory), original, "round {round}");
            second.rewind.start();
            second.rewind.give(&delta);
            assert_eq!(bytes(&mut *second.memory), left, "round {round}");
            assert!(second.rewind.rewind(false), "what was given is found");
            assert_eq!(bytes(&mut *second.memory), original, "round {round}");
        }
    }

    #[test]
    fn what_is_too_much_to_take_out_stays() {
        let image = Mutex::default();
        let mut tested = made(&[], &image);
        for (blocks, fits) in [(BLOCKS_MAX, true), (BLOCKS_MAX + 1, false)] {
            tested.rewind.start();
            for block in 0..blocks {
                bytes(&mut *tested.memory)[block * BLOCK] = 1;
            }
            let taken = tested.rewind.take(false);
            assert_eq!(taken.is_some(), fits, "{blocks}");
            assert_eq!(bytes(&mut *tested.memory)[0] == 0, fits, "{blocks}");
        }
        assert!(tested.rewind.rewind(false));
        tested.memory.grow_to(PAGE * (PAGES + 16)).unwrap();
        assert!(tested.rewind.take(false).is_none(), "it grew");
    }

    #[test]
    fn pages_written_on_another_thread_are_found() {
        let image = Mutex::default();
        let mut tested = made(&[], &image);
        tested.rewind.start();
        assert!(tested.rewind.rewind(false));
        tested.rewind.start();
        let mut tested = std::thread::spawn(move || {
            bytes(&mut *tested.memory)[PAGE * 9] = 1;
            tested
        })
        .join()
        .unwrap();
        assert!(tested.rewind.rewind(true));
        assert_eq!(bytes(&mut *tested.memory)[PAGE * 9], 0);
    }

    #[test]
    fn what_grew_or_wrote_too_much_has_to_go() {
        let image = Mutex::default();
        let mut tested = made(&[], &image);
        tested.memory.grow_to(PAGE * (PAGES + 16)).unwrap();
        assert!(!tested.rewind.rewind(false));
        let mut tested = made(&[], &image);
        tested.rewind.start();
        bytes(&mut *tested.memory).fill(1);
        assert!(!tested.rewind.rewind(false));
        assert!(
            tested.memory.grow_to(PAGE * PAGES * 3).is_err(),
            "no more than was reserved"
        );
    }
}
