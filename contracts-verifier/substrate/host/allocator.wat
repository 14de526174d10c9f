;; The allocator that a runtime asks of its host (sp-io: ext_allocator_malloc, ext_allocator_free), on the runtime's own memory.
;; Blocks are 8 << order bytes after a header of 8: the order with a mark in the low half, zero in the high half (sp-io keeps the
;; excess of an alignment in the two bytes before a pointer and expects zero where the host allocated). Freed blocks of an order
;; are a list through their first word; what no list has is cut from the end, and memory grows as needed. It traps, as nodes
;; refuse, above 32 MiB a block, without memory, and on a pointer that it did not give or that was freed.
(module
  (import "env" "memory" (memory 0))
  (global $heads (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))

  ;; Before the first call: the heap begins at $base, with the heads of the 23 lists.
  (func (export "start") (param $base i32)
    (local $at i32)
    (global.set $heads (i32.and (i32.add (local.get $base) (i32.const 7)) (i32.const -8)))
    (global.set $end (i32.add (global.get $heads) (i32.const 96)))
    (call $reach (global.get $end))
    (local.set $at (global.get $heads))
    (loop $zero
      (i32.store (local.get $at) (i32.const 0))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $zero (i32.lt_u (local.get $at) (global.get $end)))))

  ;; Grows memory until $to is inside.
  (func $reach (param $to i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.shr_u (i32.add (local.get $to) (i32.const 65535)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then (unreachable))))))

  (func (export "malloc") (param $size i32) (result i32)
    (local $order i32) (local $head i32) (local $block i32)
    (if (i32.gt_u (local.get $size) (i32.const 33554432))
      (then (unreachable)))
    (if (i32.gt_u (local.get $size) (i32.const 8))
      (then
        (local.set $order
          (i32.sub (i32.const 29) (i32.clz (i32.sub (local.get $size) (i32.const 1)))))))
    (local.set $head (i32.add (global.get $heads) (i32.shl (local.get $order) (i32.const 2))))
    (local.set $block (i32.load (local.get $head)))
    (if (local.get $block)
      (then
        (i32.store (local.get $head) (i32.load (local.get $block))))
      (else
        (local.set $block (i32.add (global.get $end) (i32.const 8)))
        (global.set $end (i32.add (local.get $block) (i32.shl (i32.const 8) (local.get $order))))
        (call $reach (global.get $end))))
    (i64.store
      (i32.sub (local.get $block) (i32.const 8))
      (i64.extend_i32_u (i32.or (local.get $order) (i32.const 256))))
    (local.get $block))

  (func (export "free") (param $block i32)
    (local $order i32) (local $head i32)
    (if (i32.le_u (local.get $block) (global.get $heads))
      (then (unreachable)))
    (local.set $order
      (i32.xor (i32.load (i32.sub (local.get $block) (i32.const 8))) (i32.const 256)))
    (if (i32.gt_u (local.get $order) (i32.const 22))
      (then (unreachable)))
    (local.set $head (i32.add (global.get $heads) (i32.shl (local.get $order) (i32.const 2))))
    (i32.store (i32.sub (local.get $block) (i32.const 8)) (local.get $order))
    (i32.store (local.get $block) (i32.load (local.get $head)))
    (i32.store (local.get $head) (local.get $block))))
