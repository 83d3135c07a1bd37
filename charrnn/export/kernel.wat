;; The product of a matrix and a vector with SIMD, for engine.js.  CONTRIBUTING.md says how to make
;; kernel.wasm from it.
(module
  (import "page" "memory" (memory 1))

  ;; out = weight times x, for a matrix (rows, width), x (width,) and out (rows,), in fp32.  The
  ;; first three are addresses in bytes.
  (func (export "multiply")
    (param $weight i32) (param $x i32) (param $out i32) (param $rows i32) (param $width i32)
    (local $row_end i32) (local $out_end i32) (local $k i32) (local $first v128)
    (local $second v128) (local $sum f32)
    (local.set $out_end (i32.add (local.get $out) (i32.shl (local.get $rows) (i32.const 2))))
    (block $all (loop $row
      (br_if $all (i32.ge_u (local.get $out) (local.get $out_end)))
      (local.set $row_end
        (i32.add (local.get $weight) (i32.shl (local.get $width) (i32.const 2))))
      (local.set $k (local.get $x))
      (local.set $first (v128.const f32x4 0 0 0 0))
      (local.set $second (v128.const f32x4 0 0 0 0))

      ;; Eight numbers at a time.
      (block $eights (loop $eight
        (br_if $eights
          (i32.gt_u (i32.add (local.get $weight) (i32.const 32)) (local.get $row_end)))
        (local.set $first (f32x4.add (local.get $first)
          (f32x4.mul (v128.load (local.get $weight)) (v128.load (local.get $k)))))
        (local.set $second (f32x4.add (local.get $second)
          (f32x4.mul
            (v128.load offset=16 (local.get $weight)) (v128.load offset=16 (local.get $k)))))
        (local.set $weight (i32.add (local.get $weight) (i32.const 32)))
        (local.set $k (i32.add (local.get $k) (i32.const 32)))
        (br $eight)))
      (local.set $first (f32x4.add (local.get $first) (local.get $second)))
      (local.set $sum (f32.add
        (f32.add
          (f32x4.extract_lane 0 (local.get $first)) (f32x4.extract_lane 1 (local.get $first)))
        (f32.add
          (f32x4.extract_lane 2 (local.get $first)) (f32x4.extract_lane 3 (local.get $first)))))

      ;; The rest, one by one.
      (block $ones (loop $one
        (br_if $ones (i32.ge_u (local.get $weight) (local.get $row_end)))
        (local.set $sum (f32.add (local.get $sum)
          (f32.mul (f32.load (local.get $weight)) (f32.load (local.get $k)))))
        (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
        (local.set $k (i32.add (local.get $k) (i32.const 4)))
        (br $one)))
      (f32.store (local.get $out) (local.get $sum))
      (local.set $out (i32.add (local.get $out) (i32.const 4)))
      (br $row)))))
