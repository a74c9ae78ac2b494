//! Calls that exist only to say that they are not supported: a caller that looks symbols up by name
//! gets an error code instead of a missing symbol.

use super::state::call_always;

macro_rules! refuse {
    ($($name:ident)*) => {
        $(
            // Arguments stay where the caller put them: nothing reads them.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> u32 {
                call_always(stringify!($name), |driver| driver.unsupported(stringify!($name)))
            }
        )*
    };
}

refuse! {
    cuCtxCreate_v3
    cuCtxGetLimit
    cuCtxSetLimit
    cuDestroyExternalMemory
    cuDeviceSetMemPool
    cuExternalMemoryGetMappedBuffer
    cuGetProcAddress
    cuGetProcAddress_v2
    cuGraphAddKernelNode_v2
    cuGraphAddMemcpyNode
    cuGraphAddMemsetNode
    cuGraphCreate
    cuImportExternalMemory
    cuLaunchCooperativeKernel
    cuLibraryLoadData
    cuMemHostRegister_v2
    cuMemHostUnregister
    cuMemPoolCreate
    cuMemPoolDestroy
    cuMemcpyPeerAsync
    cuOccupancyAvailableDynamicSMemPerBlock
    cuOccupancyMaxActiveClusters
    cuOccupancyMaxPotentialBlockSize
    cuOccupancyMaxPotentialBlockSizeWithFlags
    cuOccupancyMaxPotentialClusterSize
    cuProfilerStart
    cuProfilerStop
    cuStreamAddCallback
    cuStreamGetCaptureInfo_v2
    cuStreamGetCaptureInfo_v3
    cuTensorMapEncodeTiled
}
