// What device code needs from its platform: a GPU, compiled by NVRTC without any header of a host, or the CPU, emulated (emulation.hpp).
//
// Instructions that use the carry flag are written once, as macros. On a GPU they are the text of an asm statement, on the CPU the
// statements that do the same, so that the CPU runs what the GPU runs.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

// An element of a field as a kernel's argument.
struct Element {
  u32 words[8];
};

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
// What is rarely called and shall not be copied into its callers.
#define COLD __device__ __noinline__
// A kernel for blocks of at most THREADS threads, with registers for BLOCKS of them on a multiprocessor.
#define KERNEL(THREADS, BLOCKS) extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
// Names a kernel for launches; of one without barriers the second form is faster in the emulation.
#define EXPORT(NAME)
#define EXPORT_STRAIGHT(NAME)
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")

#define UNWRAP(...) __VA_ARGS__
// CODE reads and writes operands by their number: first those of the list IO, then those of the list IN.
#define ASM(CODE, IO, IN) asm(CODE : UNWRAP IO : UNWRAP IN)
#define RW(WORD) "+r"(WORD)
#define RD(WORD) "r"(WORD)

#define TEXT3_(OP, D, A, B) OP ".u32 %" #D ", %" #A ", %" #B ";\n\t"
#define TEXT4_(OP, D, A, B, C) OP ".u32 %" #D ", %" #A ", %" #B ", %" #C ";\n\t"
#define ADD_CC(D, A, B) TEXT3_("add.cc", D, A, B)
#define ADDC_CC(D, A, B) TEXT3_("addc.cc", D, A, B)
#define ADDC(D, A, B) TEXT3_("addc", D, A, B)
// D = A + 0 + carry.
#define CARRY_CC(D, A) "addc.cc.u32 %" #D ", %" #A ", 0;\n\t"
#define CARRY(D, A) "addc.u32 %" #D ", %" #A ", 0;\n\t"
// D = carry.
#define SET_CARRY(D) "addc.u32 %" #D ", 0, 0;\n\t"
#define SUB_CC(D, A, B) TEXT3_("sub.cc", D, A, B)
#define SUBC_CC(D, A, B) TEXT3_("subc.cc", D, A, B)
// D = 0 or 2^32 - 1 where there was a borrow.
#define SET_BORROW(D) "subc.u32 %" #D ", 0, 0;\n\t"
#define MAD_LO_CC(D, A, B, C) TEXT4_("mad.lo.cc", D, A, B, C)
#define MADC_LO_CC(D, A, B, C) TEXT4_("madc.lo.cc", D, A, B, C)
#define MADC_HI_CC(D, A, B, C) TEXT4_("madc.hi.cc", D, A, B, C)
#define MADC_HI(D, A, B, C) TEXT4_("madc.hi", D, A, B, C)
// D = the low (high) half of A * B, with the carry.
#define MULC_LO_CC(D, A, B) "madc.lo.cc.u32 %" #D ", %" #A ", %" #B ", 0;\n\t"
#define MULC_HI(D, A, B) "madc.hi.u32 %" #D ", %" #A ", %" #B ", 0;\n\t"
#define MULC_HI_CC(D, A, B) "madc.hi.cc.u32 %" #D ", %" #A ", %" #B ", 0;\n\t"

extern __shared__ uint4 shared_memory[];

#else
#include "emulation.hpp"
#endif

// The index of the thread among all of its launch.
DEVICE u32 thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }
