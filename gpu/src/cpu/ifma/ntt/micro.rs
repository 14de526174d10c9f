use super::*;
use crate::cpu::ifma::field::Fr16;
use super::block::*;
use std::time::Instant;

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn products(x: &mut [Fr16], w: &Fr16) {
    for x in x.iter_mut() { *x = x.mul(w); }
}
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn whole(rows: &mut [Signed], roots: &[Root], src: &[Fr16], dst: &mut [Fr16]) {
    let n = rows.len();
    let load = |i: usize| src[i];
    let store = |k: usize, o: &[Signed; 4]| for q in 0..4 { dst[k + q * n / 4] = o[q].lifted::<LIFT>(); };
    block::transform(rows, roots, load, store);
}
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn twisted(rows: &mut [Signed], roots: &[Root], src: &[Fr16], dst: &mut [Fr16], w: &[Fr; 16]) {
    let n = rows.len();
    let mut t = Twist::new(w, w, n.ilog2());
    let load = |i: usize| src[i];
    let store = |k: usize, o: &[Signed; 4]| { let o = t.apply(k, o); for q in 0..4 { dst[k + q * n / 4] = o[q]; } };
    block::transform(rows, roots, load, store);
}
#[test]
#[ignore]
fn micro() {
    let time = |name: &str, per: usize, f: &mut dyn FnMut()| {
        let mut best = f64::MAX;
        for _ in 0..2000 { let t = Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); }
        println!("{name}: {:.3} ns/element or butterfly, {:.3} ms", best * 1e9 / per as f64, best * 1e3);
    };
    let plan = Plan::new(1 << 20, Fr::from(5u64));
    let w = unsafe { Fr16::splat([3, 4, 5, 6, 7]) };
    let mut x = vec![w; 64];
    time("products L1", 1024, &mut || unsafe { products(&mut x, &w) });
    let mut x = vec![w; 1024];
    time("products L2", 16384, &mut || unsafe { products(&mut x, &w) });
    for n in [16usize, 64, 256, 1024] {
        let mut rows = vec![Signed::from(w); n];
        let src = vec![w; n];
        let mut dst = vec![w; n];
        time(&format!("layer {n}"), 16 * n, &mut || unsafe { layer(&mut rows, &plan.roots, n / 4, 1) });
        for r in &mut rows { *r = Signed::from(w); }
        time(&format!("trivial {n}"), 16 * n, &mut || unsafe { layer(&mut rows, &plan.roots, n, 0) });
        time(&format!("whole {n}"), 8 * n * n.ilog2() as usize, &mut || unsafe { whole(&mut rows, &plan.roots, &src, &mut dst) });
        time(&format!("twisted {n}"), 8 * n * n.ilog2() as usize, &mut || unsafe { twisted(&mut rows, &plan.roots, &src, &mut dst, &[Fr::from(7u64); 16]) });
        for r in [1, n] {
            let mut data = vec![Fr::from(7u64); 16 * n];
            let block = Block { first: 0, row_stride: if r == 1 { 16 } else { 1 }, lane_stride: if r == 1 { 1 } else { n } };
            let grid = Grid::new(&mut data);
            time(&format!("final {n} {r}"), 8 * n * n.ilog2() as usize, &mut || unsafe { plan.final_pass(&grid, block, &mut rows) });
        }
    }
}
