//! Charts as SVG that needs nothing but the page's style: a histogram with its place in the proved interval, a scatter, errors.

use super::text::{at, real, whole};
use zkinfer_circuits::quantize::profile::Histogram;
use zkinfer_circuits::tensor::Quantization;

/// Sides of a histogram's drawing.
const HISTOGRAM: [f64; 2] = [280.0, 138.0];
/// Height of its bars.
const BARS: f64 = 72.0;
/// Sides of a scatter's drawing.
const SCATTER: [f64; 2] = [360.0, 320.0];
/// Where a scatter's plot lies in it: left, top, right, bottom.
const PLOT: [f64; 4] = [52.0, 10.0, 350.0, 276.0];

/// Bars over the values seen, and below them where these lie in the proved interval. Heights are logarithmic, so that rare values at the
/// ends are seen.
pub(super) fn histogram(
    histogram: &Histogram,
    interval: [i64; 2],
    quantization: Option<Quantization>,
    label: &str,
) -> String {
    let [width, height] = HISTOGRAM;
    let most = histogram.counts.iter().max().copied().unwrap_or(0);
    let scale = (1.0 + most as f64).ln().max(1e-9);
    let n_bins = histogram.counts.len().max(1) as f64;
    let bin = width / n_bins;
    let mut bars = String::new();
    for (i, &count) in histogram.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
        let tall = ((1.0 + count as f64).ln() / scale * BARS).max(1.0);
        let (x, w) = (i as f64 * bin, (bin - 0.6).max(0.6));
        bars += &format!("M{} {BARS}v-{}h{}v{}z", at(x), at(tall), at(w), at(tall));
    }
    // the ends of the first and the last bin may lie outside the interval
    let ends = [histogram.start(0), histogram.start(histogram.counts.len())];
    let place = |value: i128| {
        let [lo, hi] = interval.map(i128::from);
        let span = (hi - lo + 1) as f64;
        ((value - lo) as f64 / span).clamp(0.0, 1.0) * width
    };
    let from = place(histogram.least.into());
    let to = place(i128::from(histogram.largest) + 1)
        .max(from + 1.5)
        .min(width);
    let from = from.min(to - 1.5);
    let zero = quantization.map(|q| i128::from(q.zero_point));
    let zero = zero.filter(|z| (ends[0]..ends[1]).contains(z)).map(|z| {
        let x = (z - ends[0]) as f64 / (ends[1] - ends[0]) as f64 * width + bin / 2.0;
        format!(
            "<path class=\"zero\" d=\"M{0} 0V{BARS}\"/>",
            at(x.min(width - 1.0))
        )
    });
    let (seen, proved) = (BARS + 14.0, height - 4.0);
    format!(
        "<svg class=\"histogram\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\
         <path class=\"bars\" d=\"{bars}\"/>{zero}<path class=\"axis\" d=\"M0 {BARS}H{width}\"/>\
         <text x=\"0\" y=\"{seen}\">{least}</text><text x=\"{width}\" y=\"{seen}\" class=\"end\">{largest}</text>\
         <path class=\"funnel\" d=\"M0 {b}L{f} 106H{t}L{width} {b}z\"/>\
         <rect class=\"track\" x=\"0\" y=\"106\" width=\"{width}\" height=\"8\" rx=\"2\"/>\
         <rect class=\"seen\" x=\"{f}\" y=\"106\" width=\"{w}\" height=\"8\"/>\
         <text x=\"0\" y=\"{proved}\">{lo}</text><text x=\"{width}\" y=\"{proved}\" class=\"end\">{hi}</text>\
         <text x=\"{middle}\" y=\"{proved}\" class=\"middle\">proved interval</text></svg>",
        zero = zero.unwrap_or_default(),
        least = whole(histogram.least),
        largest = whole(histogram.largest),
        b = BARS + 18.0,
        f = at(from),
        t = at(to),
        w = at(to - from),
        lo = whole(interval[0]),
        hi = whole(interval[1]),
        middle = width / 2.0,
    )
}

/// What an axis shows.
struct Axis {
    lo: f64,
    hi: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// Holds all values, with round numbers to read off.
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let start = [f64::INFINITY, f64::NEG_INFINITY];
        let [mut lo, mut hi] = values.fold(start, |[lo, hi], v| [lo.min(v), hi.max(v)]);
        if lo > hi {
            [lo, hi] = [0.0, 1.0];
        }
        let pad = (0.04 * (hi - lo))
            .max(lo.abs().max(hi.abs()) * 1e-6)
            .max(1e-12);
        [lo, hi] = [lo - pad, hi + pad];
        let rough = (hi - lo) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let first = (lo / step).ceil() as i64;
        let ticks = (first..first + 8)
            .map(|i| i as f64 * step)
            .take_while(|t| *t <= hi);
        Self {
            ticks: ticks.collect(),
            lo,
            hi,
        }
    }

    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        from + (value - self.lo) / (self.hi - self.lo) * (to - from)
    }
}

/// A plot's frame, ticks and names of axes around `inside`.
fn plot(x: &Axis, y: &Axis, names: [&str; 2], label: &str, inside: &str) -> String {
    let ([width, height], [left, top, right, bottom]) = (SCATTER, PLOT);
    let mut ticks = String::new();
    for &t in &x.ticks {
        let p = at(x.place(t, left, right));
        ticks += &format!(
            "<path class=\"grid\" d=\"M{p} {top}V{bottom}\"/><text x=\"{p}\" y=\"{}\" class=\"middle\">{}</text>",
            bottom + 15.0,
            tick(t)
        );
    }
    for &t in &y.ticks {
        let p = y.place(t, bottom, top);
        ticks += &format!(
            "<path class=\"grid\" d=\"M{left} {0}H{right}\"/><text x=\"{1}\" y=\"{2}\" class=\"end\">{3}</text>",
            at(p),
            left - 6.0,
            at(p + 4.0),
            tick(t)
        );
    }
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{ticks}{inside}\
         <text x=\"{}\" y=\"{}\" class=\"middle name\">{}</text><text transform=\"translate(12 {}) rotate(-90)\" class=\"middle name\">{}</text></svg>",
        (left + right) / 2.0,
        height - 6.0,
        names[0],
        (top + bottom) / 2.0,
        names[1],
    )
}

fn tick(value: f64) -> String {
    if value.abs() < 1e6 && value.fract().abs() < 1e-9 {
        whole(value as i128)
    } else {
        real(value)
    }
}

/// Points as one path of dots.
fn dots(points: impl Iterator<Item = [f64; 2]>, x: &Axis, y: &Axis) -> String {
    let [left, top, right, bottom] = PLOT;
    let mut path = String::new();
    for [a, b] in points {
        path += &format!(
            "M{} {}h0",
            at(x.place(a, left, right)),
            at(y.place(b, bottom, top))
        );
    }
    format!("<path class=\"dots\" d=\"{path}\"/>")
}

/// Float values across, quantized values up, and the line on which they agree.
pub(super) fn scatter(points: &[[f64; 2]], label: &str) -> String {
    let axis = Axis::over(points.iter().flatten().copied());
    let [left, top, right, bottom] = PLOT;
    let line = format!("<path class=\"ideal\" d=\"M{left} {bottom}L{right} {top}\"/>");
    let inside = line + &dots(points.iter().copied(), &axis, &axis);
    plot(&axis, &axis, ["float", "quantized"], label, &inside)
}

/// Float values across, quantized less float in steps up, and the band that rounding alone fills.
pub(super) fn residuals(points: &[[f64; 2]], step: f64, label: &str) -> String {
    let errors = || points.iter().map(|[f, q]| [*f, (q - f) / step]);
    let x = Axis::over(points.iter().map(|p| p[0]));
    let y = Axis::over(errors().map(|p| p[1]).chain([-1.0, 1.0]));
    let [left, top, right, bottom] = PLOT;
    let (high, low) = (y.place(0.5, bottom, top), y.place(-0.5, bottom, top));
    let band = format!(
        "<rect class=\"band\" x=\"{left}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
        at(high),
        right - left,
        at(low - high)
    );
    plot(
        &x,
        &y,
        ["float", "error in steps"],
        label,
        &(band + &dots(errors(), &x, &y)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_have_round_ticks() {
        for (lo, hi) in [
            (0.0, 1.0),
            (-3.7, 12.1),
            (5.0, 5.0),
            (0.0, 0.0),
            (1e-9, 2e-9),
            (-4e8, 1e9),
        ] {
            let axis = Axis::over([lo, hi].into_iter());
            assert!(axis.lo <= lo && hi <= axis.hi, "{lo} {hi}");
            assert!(
                (1..=8).contains(&axis.ticks.len()),
                "{lo} {hi}: {:?}",
                axis.ticks
            );
            assert!(axis.ticks.iter().all(|t| (axis.lo..=axis.hi).contains(t)));
        }
        assert!(Axis::over(std::iter::empty()).ticks.len() > 1);
    }

    #[test]
    fn odd_histograms_are_drawn() {
        let far = Histogram::of(&[-(1 << 62), 1 << 62]);
        for (h, interval) in [
            (Histogram::default(), [0, 0]),
            (Histogram::of(&[7]), [7, 7]),
            (far, [-(1 << 62), 1 << 62]),
            (Histogram::of(&[0]), [-(1 << 40), 1 << 40]),
        ] {
            let svg = histogram(&h, interval, None, "x");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let svg = scatter(&[], "x") + &residuals(&[[0.0, 0.0]], 1.0, "x");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
