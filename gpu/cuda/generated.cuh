// What the kernel of a straight-line program is made of (src/cuda/lines/generated.rs); a program has hundreds of products, so they are calls.
#pragma once
#include "field.cuh"

static COLD Fr product(Fr a, Fr b) { return a * b; }
static COLD Fr square(Fr a) { return a.squared(); }

// The row of a column, of n a power of two, around the end.
static DEVICE Fr column_at(const u64 *columns, u32 column, u32 row, u32 n) {
  return Fr::load((const u32 *)columns[column] + 8ull * (row & (n - 1)));
}

static DEVICE Fr uniform_at(const u32 *uniform, u32 index) { return Fr::load(uniform + 8ull * index); }
