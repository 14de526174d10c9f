// Straight-line programs over the rows of vectors, step by step.
#include "field.cuh"

// The kinds of steps, as the host numbers them. A step is four words: kind, target, first and second operand.
enum : u32 {
  LINES_LOAD,
  LINES_NEG,
  LINES_ADD,
  LINES_SUB,
  LINES_MUL,
  LINES_ADD_UNIFORM,
  LINES_UNIFORM_SUB,
  LINES_MUL_UNIFORM,
  LINES_FOLD,
  LINES_FOLD_UNIFORM,
};

// The registers of one thread of `threads`. Threads that are neighbours have neighbouring words, so that a warp's accesses join.
struct Registers {
  uint4 *at;
  u32 threads;

  DEVICE Fr load(u32 i) const {
    uint4 low = at[2ull * i * threads], high = at[(2ull * i + 1) * threads];
    return Fr{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
  }

  DEVICE void store(u32 i, const Fr &a) const {
    at[2ull * i * threads] = uint4{a.words[0], a.words[1], a.words[2], a.words[3]};
    at[(2ull * i + 1) * threads] = uint4{a.words[4], a.words[5], a.words[6], a.words[7]};
  }
};

// Every row of `sum`, n a power of two; each of `threads` threads takes every so many-th row.
KERNEL(128, 4)
lines_run(u32 *sum, const uint4 *steps, u32 n_steps, const u64 *columns, const u32 *uniform, uint4 *registers, Element fold,
          u32 threads, u32 n) {
  u32 thread = thread_index();
  if (thread >= threads) return;
  Registers r{registers + thread, threads};
  Fr y = Fr::of(fold);
  ROLLED for (u32 row = thread; row < n; row += threads) {
    Fr s = Fr::load(sum + 8ull * row);
    ROLLED for (u32 i = 0; i < n_steps; i++) {
      uint4 step = steps[i];
      u32 kind = step.x, a = step.z, b = step.w;
      // One product for all kinds that have one: a switch with a product in each case is a kernel many times as long.
      bool folds = kind >= LINES_FOLD;
      Fr left, right;
      if (kind == LINES_LOAD) {
        left = Fr::load((const u32 *)columns[a] + 8ull * ((row + b) & (n - 1)));
      } else if (kind == LINES_FOLD_UNIFORM || (kind >= LINES_ADD_UNIFORM && !folds)) {
        left = Fr::load(uniform + 8ull * a);
      } else {
        left = r.load(a);
      }
      if (folds) {
        right = y;
      } else if (kind >= LINES_ADD) {
        right = r.load(b);
      } else {
        right = Fr::zero();
      }
      Fr result = left;
      if (folds || kind == LINES_MUL || kind == LINES_MUL_UNIFORM) {
        result = (folds ? s : left) * right;
        if (folds) s = result + left;
      } else if (kind == LINES_ADD || kind == LINES_ADD_UNIFORM) {
        result = left + right;
      } else if (kind == LINES_SUB || kind == LINES_UNIFORM_SUB) {
        result = left - right;
      } else if (kind == LINES_NEG) {
        result = left.negated();
      }
      if (!folds) r.store(step.y, result);
    }
    s.canonical().store(sum + 8ull * row);
  }
}
EXPORT_STRAIGHT(lines_run)
