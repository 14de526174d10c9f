//! The section on outputs: how far they are from the float model, how often they are right, and what is mistaken for what.

use super::charts::{residuals, scatter};
use super::data::Page;
use super::page::absent;
use super::text::{count, escape, percent, real};
use zkinfer_circuits::quantize::profile::{
    Accuracy, Confusion, Hits, LEAST_CLASSES_FOR_TOP_5, OutputProfile, Profile, Truth,
};

/// Most classes of a confusion that is drawn whole; beyond, the most frequent mistakes are listed.
const MAX_CLASSES: usize = 24;
/// Most mistakes in a list.
const MAX_MISTAKES: usize = 20;

/// The headline on accuracy: what, how much, and beside what.
pub(super) fn tile_of(page: &Page) -> Option<[String; 3]> {
    let shown = |what: &str, value: String, more: String| Some([what.to_owned(), value, more]);
    if let Some(profile) = &page.profile
        && let Some(output) = profile.outputs.first()
    {
        let n = profile.samples.max(1) as f64;
        if let Some(accuracy) = output.accuracy {
            let own = percent(accuracy.quantized.top_1 as f64 / n);
            let beside = accuracy
                .float
                .map_or("no float model to compare with".to_owned(), |f| {
                    format!("float {}", percent(f.top_1 as f64 / n))
                });
            return shown(
                "accuracy, top-1",
                own,
                format!("{beside}; {} samples", count(profile.samples)),
            );
        }
        if let Some(agreement) = output.agreement.filter(|_| output.classes > 1) {
            let more = format!("with the float model, {} samples", count(profile.samples));
            return shown("answers agree", percent(agreement as f64 / n), more);
        }
    }
    let output = page.calibration.outputs.first()?;
    let more = format!(
        "with the float model, {} calibration samples",
        count(page.calibration.samples)
    );
    shown("answers agree", percent(output.argmax_agreement), more)
}

/// The whole section.
pub(super) fn section(page: &Page) -> String {
    let Some(profile) = &page.profile else {
        let mut text = absent(
            "answers",
            "Answers",
            "Scatter and accuracy need samples and the float model: --model model.onnx --samples samples.npz.",
        );
        let end = text.rfind("</section>").unwrap_or(text.len());
        text.insert_str(end, &calibrated(page));
        return text;
    };
    let mut body = String::new();
    for (number, output) in profile.outputs.iter().enumerate() {
        body += &one(page, profile, output, number);
    }
    format!(
        "<section aria-labelledby=\"answers\"><h2 id=\"answers\">Answers</h2>{body}</section>\n"
    )
}

/// What the bundle's own report says.
fn calibrated(page: &Page) -> String {
    let rows: String = page
        .calibration
        .outputs
        .iter()
        .map(|o| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                escape(&o.name),
                percent(o.argmax_agreement),
                real(o.mean_error_steps),
                real(o.max_error_steps)
            )
        })
        .collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Outputs, scrolls\"><table class=\"small\"><caption>Outputs on the {} calibration samples</caption><thead><tr><th scope=\"col\">output</th><th scope=\"col\" class=\"n\">largest element agrees</th>\
         <th scope=\"col\" class=\"n\">mean error, steps</th><th scope=\"col\" class=\"n\">largest error, steps</th></tr></thead><tbody>{rows}</tbody></table></div>",
        count(page.calibration.samples)
    )
}

fn one(page: &Page, profile: &Profile, output: &OutputProfile, number: usize) -> String {
    let name = escape(&output.name);
    let mut parts = format!("<h3>Output {name}</h3><div class=\"answers\">");
    if let Some(accuracy) = &output.accuracy {
        parts += &accuracy_table(accuracy, output.classes, profile.samples);
    }
    if let Some(agreement) = output.agreement.filter(|_| output.classes > 1) {
        let share = percent(agreement as f64 / profile.samples.max(1) as f64);
        parts += &format!(
            "<p class=\"fact\"><b>{share}</b> of the samples have the same largest element in both models: {} of {}.</p>",
            count(agreement),
            count(profile.samples)
        );
    }
    parts += "</div><div class=\"figures wide\">";
    let tensor = page
        .outputs
        .get(number)
        .and_then(|(_, tensor)| page.tensors.get(*tensor));
    let step = tensor.and_then(|t| t.quantization).map_or(1.0, |q| q.scale);
    if output.points.is_empty() {
        parts += "<p class=\"absent\">The scatter needs the float model: --model model.onnx.</p>";
    } else {
        let n_points = count(output.points.len());
        let table = error_table(&output.points, step);
        parts += &format!(
            "<figure><figcaption><b>Float and quantized</b><small>{n_points} values; on the line they agree</small></figcaption>{}</figure>\
             <figure><figcaption><b>Error</b><small>in steps of {}; the band is what rounding alone makes</small></figcaption>{}{table}</figure>",
            scatter(
                &output.points,
                &format!(
                    "Scatter of {n_points} values of output {name}: float across, quantized up"
                )
            ),
            real(step),
            residuals(
                &output.points,
                step,
                &format!("Errors of {n_points} values of output {name} in steps")
            ),
        );
    }
    if let Some(confusion) = &output.confusion {
        parts += &confused(confusion, output.classes);
    }
    parts + "</div>"
}

fn accuracy_table(accuracy: &Accuracy, classes: usize, samples: usize) -> String {
    let n = samples.max(1) as f64;
    let wide = classes >= LEAST_CLASSES_FOR_TOP_5;
    let cell = |hits: usize| {
        let share = hits as f64 / n;
        format!(
            "<td class=\"n cost\" style=\"--p:{:.1}%\">{} <small>{}</small></td>",
            100.0 * share,
            percent(share),
            count(hits)
        )
    };
    let row = |name: &str, hits: &Hits| {
        let fives = if wide {
            cell(hits.top_5)
        } else {
            String::new()
        };
        format!(
            "<tr><th scope=\"row\">{name}</th>{}{fives}</tr>",
            cell(hits.top_1)
        )
    };
    let rows = accuracy
        .float
        .as_ref()
        .map_or(String::new(), |f| row("float", f))
        + &row("quantized", &accuracy.quantized);
    let fives = if wide {
        "<th scope=\"col\" class=\"n\">top-5</th>"
    } else {
        ""
    };
    let changed = if accuracy.float.is_some() {
        format!(
            "<p class=\"fact\">Quantization lost <b>{}</b> right answers and gained <b>{}</b>.</p>",
            count(accuracy.lost),
            count(accuracy.gained)
        )
    } else {
        String::new()
    };
    format!(
        "<table class=\"accuracy\"><caption>Accuracy on {} labelled samples</caption><thead><tr><th scope=\"col\">model</th><th scope=\"col\" class=\"n\">top-1</th>{fives}</tr></thead>\
         <tbody>{rows}</tbody></table>{changed}",
        count(samples)
    )
}

/// Quantiles of the errors, for those who do not see the plot.
fn error_table(points: &[[f64; 2]], step: f64) -> String {
    let mut errors: Vec<f64> = points.iter().map(|[f, q]| ((q - f) / step).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let quantile = |share: f64| errors[((errors.len() - 1) as f64 * share).round() as usize];
    let rows = [("half", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("all", 1.0)];
    let rows: String = rows
        .iter()
        .map(|(name, share)| {
            format!(
                "<tr><td>{name}</td><td>{}</td></tr>",
                real(quantile(*share))
            )
        })
        .collect();
    format!(
        "<details><summary>Numbers</summary><div class=\"numbers\"><table><thead><tr><th scope=\"col\">of the values</th><th scope=\"col\">error at most, steps</th></tr></thead>\
         <tbody>{rows}</tbody></table></div></details>"
    )
}

fn confused(confusion: &Confusion, classes: usize) -> String {
    let truth = match confusion.truth {
        Truth::Label => "label",
        Truth::Float => "float",
    };
    let table = if classes <= MAX_CLASSES && confusion.left_out == 0 {
        matrix(confusion, classes, truth)
    } else {
        mistakes(confusion, truth)
    };
    format!(
        "<figure class=\"confusion\"><figcaption><b>Largest element</b><small>rows: {truth}; columns: quantized</small></figcaption><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion, scrolls\">{table}</div></figure>"
    )
}

fn matrix(confusion: &Confusion, classes: usize, truth: &str) -> String {
    let mut cells = vec![0usize; classes * classes];
    for &(from, to, n) in &confusion.cells {
        if let Some(cell) = cells.get_mut(from * classes + to) {
            *cell = n;
        }
    }
    let head: String = (0..classes)
        .map(|c| format!("<th scope=\"col\">{c}</th>"))
        .collect();
    let mut rows = String::new();
    for from in 0..classes {
        let row = &cells[from * classes..][..classes];
        let total = row.iter().sum::<usize>().max(1) as f64;
        rows += &format!("<tr><th scope=\"row\">{from}</th>");
        for (to, &n) in row.iter().enumerate() {
            let class = if n == 0 {
                "none"
            } else if to == from {
                "right"
            } else {
                "wrong"
            };
            // a single mistake must be seen
            let part = if to == from {
                n as f64 / total
            } else {
                (3.0 * n as f64 / total).clamp(0.6, 1.0)
            };
            rows += &format!(
                "<td class=\"{class}\" style=\"--p:{:.0}%\">{n}</td>",
                100.0 * part
            );
        }
        rows += "</tr>";
    }
    format!(
        "<table class=\"matrix\"><thead><tr><th scope=\"col\"><span class=\"hidden\">{truth}</span></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
}

fn mistakes(confusion: &Confusion, truth: &str) -> String {
    let wrong = confusion.cells.iter().filter(|(from, to, _)| from != to);
    let rows: String = wrong
        .take(MAX_MISTAKES)
        .map(|(from, to, n)| format!("<tr><td class=\"n\">{from}</td><td class=\"n\">{to}</td><td class=\"n\">{}</td></tr>", count(*n)))
        .collect();
    if rows.is_empty() {
        return format!("<p>No sample has another largest element than its {truth}.</p>");
    }
    format!(
        "<table class=\"small\"><caption>Most frequent differences</caption><thead><tr><th scope=\"col\" class=\"n\">{truth}</th><th scope=\"col\" class=\"n\">quantized</th>\
         <th scope=\"col\" class=\"n\">samples</th></tr></thead><tbody>{rows}</tbody></table>"
    )
}
