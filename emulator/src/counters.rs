//! What a launch is measured by.

/// Counts of one launch. The layout is part of the C interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions issued, one for each warp (or diverged part of one) that reaches it.
    pub warp_instructions: u64,
    /// Instructions times the lanes that execute them.
    pub thread_instructions: u64,
    /// Loads from global memory, one for each warp instruction; `cp.async` included.
    pub global_load_requests: u64,
    /// Distinct 32-byte sectors that these touch.
    pub global_load_sectors: u64,
    /// Bytes that the lanes asked for.
    pub global_load_bytes: u64,
    /// Stores to global memory.
    pub global_store_requests: u64,
    /// Distinct sectors.
    pub global_store_sectors: u64,
    /// Bytes that the lanes wrote.
    pub global_store_bytes: u64,
    /// Atomics on global memory.
    pub global_atomic_requests: u64,
    /// Distinct sectors.
    pub global_atomic_sectors: u64,
    /// Loads from shared memory, `ldmatrix` included.
    pub shared_load_requests: u64,
    /// Stores to shared memory.
    pub shared_store_requests: u64,
    /// Passes through the banks that loads and stores take.
    pub shared_wavefronts: u64,
    /// Passes beyond those that the same accesses need without conflicts.
    pub shared_bank_conflicts: u64,
    /// Requests to local memory (spills and indexed arrays), loads and stores.
    pub local_requests: u64,
    /// Blocks that ran to their end.
    pub blocks: u64,
}

impl Counters {
    /// Adds another launch's or block's counts.
    pub fn add(&mut self, other: &Self) {
        let Self {
            warp_instructions,
            thread_instructions,
            global_load_requests,
            global_load_sectors,
            global_load_bytes,
            global_store_requests,
            global_store_sectors,
            global_store_bytes,
            global_atomic_requests,
            global_atomic_sectors,
            shared_load_requests,
            shared_store_requests,
            shared_wavefronts,
            shared_bank_conflicts,
            local_requests,
            blocks,
        } = other;
        self.warp_instructions += warp_instructions;
        self.thread_instructions += thread_instructions;
        self.global_load_requests += global_load_requests;
        self.global_load_sectors += global_load_sectors;
        self.global_load_bytes += global_load_bytes;
        self.global_store_requests += global_store_requests;
        self.global_store_sectors += global_store_sectors;
        self.global_store_bytes += global_store_bytes;
        self.global_atomic_requests += global_atomic_requests;
        self.global_atomic_sectors += global_atomic_sectors;
        self.shared_load_requests += shared_load_requests;
        self.shared_store_requests += shared_store_requests;
        self.shared_wavefronts += shared_wavefronts;
        self.shared_bank_conflicts += shared_bank_conflicts;
        self.local_requests += local_requests;
        self.blocks += blocks;
    }

    /// Names and values in the order of the fields.
    pub fn named(&self) -> [(&'static str, u64); 16] {
        [
            ("warp_instructions", self.warp_instructions),
            ("thread_instructions", self.thread_instructions),
            ("global_load_requests", self.global_load_requests),
            ("global_load_sectors", self.global_load_sectors),
            ("global_load_bytes", self.global_load_bytes),
            ("global_store_requests", self.global_store_requests),
            ("global_store_sectors", self.global_store_sectors),
            ("global_store_bytes", self.global_store_bytes),
            ("global_atomic_requests", self.global_atomic_requests),
            ("global_atomic_sectors", self.global_atomic_sectors),
            ("shared_load_requests", self.shared_load_requests),
            ("shared_store_requests", self.shared_store_requests),
            ("shared_wavefronts", self.shared_wavefronts),
            ("shared_bank_conflicts", self.shared_bank_conflicts),
            ("local_requests", self.local_requests),
            ("blocks", self.blocks),
        ]
    }
}
