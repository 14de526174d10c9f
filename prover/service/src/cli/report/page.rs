//! The page: from what was gathered to one HTML text without scripts, fonts, images or anything else to fetch.

use super::answers;
use super::charts::histogram;
use super::data::{Page, TensorFacts};
use super::graph::{MAX_BOXES, Marks, graph};
use super::layers::{Layer, layers, rows_of_no_layer};
use super::text::{count, escape, percent, real, shape, shortened, whole};
use zkinfer_circuits::quantize::profile::{Histogram, TensorError};
use zkinfer_circuits::quantize::{Integers, Reason};

/// Most layers in the table; those beyond share the line that is numbered after the last.
pub(super) const MAX_TABLE_ROWS: usize = 4000;
/// A longer table of layers scrolls by itself.
const MAX_LINES: usize = 60;
/// Most tensors with a histogram.
const MAX_HISTOGRAMS: usize = 400;

const STYLE: &str = include_str!("style.css");

/// The page of `page`, where `errors` has how far each tensor is from the float model.
pub(crate) fn page(page: &Page, errors: &[Option<TensorError>]) -> String {
    let layers = layers(&page.tensors, &page.cost, errors);
    let marks = Marks {
        costliest: best(&layers, |l| (l.rows > 0).then_some(l.rows as f64)),
        lossiest: best(&layers, |l| Some(growth(&layers, l)).filter(|g| *g > 0.0)),
    };
    let name = escape(&page.name);
    let body = [
        head(page, &layers, marks),
        missing(page),
        model(page, &layers, marks),
        activations(page, &layers),
        answers::section(page),
        identity(page),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"referrer\" content=\"no-referrer\"><link rel=\"icon\" href=\"data:,\">\
         <title>{name}: zkinfer report</title><style>{STYLE}</style></head><body>\n{}</main></body></html>\n",
        body.concat()
    )
}

/// The layer of which `figure` is largest, the first of equals.
fn best(layers: &[Layer], figure: impl Fn(&Layer) -> Option<f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (id, layer) in layers.iter().enumerate() {
        if let Some(value) = figure(layer).filter(|v| best.is_none_or(|(_, most)| *v > most)) {
            best = Some((id, value));
        }
    }
    best.map(|(id, _)| id)
}

/// By how much the error of a layer, as a share of its range, exceeds those of the layers it reads.
fn growth(layers: &[Layer], layer: &Layer) -> f64 {
    let before = layer
        .inputs
        .iter()
        .filter_map(|&i| layers[i].error)
        .map(|e| e.share());
    layer
        .error
        .map_or(0.0, |e| e.share() - before.fold(0.0, f64::max))
}

fn tile(what: &str, value: &str, more: &str) -> String {
    format!("<div class=\"tile\"><dt>{what}</dt><dd><b>{value}</b><span>{more}</span></dd></div>")
}

/// To the line of a layer.
fn link(id: usize, layer: &Layer) -> String {
    let name = escape(&shortened(&layer.title(), 28));
    let line = id.min(MAX_TABLE_ROWS);
    format!("<a href=\"#layer-{line}\">{name}</a>")
}

fn head(page: &Page, layers: &[Layer], marks: Marks) -> String {
    let total = page.cost.total();
    let unit = page.cost.unit;
    let mut tiles = tile(
        unit,
        &count(total),
        &escape(&format!("proof system {}", page.cost.system)),
    );
    tiles += &answers::tile_of(page).map_or(String::new(), |[what, value, more]| {
        tile(&what, &value, &more)
    });
    if let Some(id) = marks.costliest {
        let layer = &layers[id];
        let share = percent(layer.rows as f64 / total.max(1) as f64);
        let link = link(id, layer);
        tiles += &tile(
            "costliest layer",
            &link,
            &format!("{}, {share} of all {unit}", escape(&layer.op)),
        );
    }
    if let Some(id) = marks.lossiest {
        let layer = &layers[id];
        let after = layer.error.map_or(0.0, |e| e.share());
        let before = after - growth(layers, layer);
        let link = link(id, layer);
        let more = format!(
            "{}: mean error from {} to {} of its range",
            escape(&layer.op),
            percent(before),
            percent(after)
        );
        tiles += &tile("error grows most in", &link, &more);
    }
    let links = [
        ("model", "Model"),
        ("activations", "Activations"),
        ("answers", "Answers"),
        ("identity", "Identity"),
    ];
    let links: String = links
        .iter()
        .map(|(id, name)| format!("<a href=\"#{id}\">{name}</a>"))
        .collect();
    format!(
        "<a class=\"skip\" href=\"#main\">To the report</a><header><p class=\"kicker\">zkinfer report</p><h1>{}</h1><p class=\"claim\">{}</p>\
         <dl class=\"tiles\">{tiles}</dl><nav aria-label=\"Sections\">{links}</nav></header><main id=\"main\">\n",
        escape(&page.name),
        escape(&page.claim)
    )
}

fn missing(page: &Page) -> String {
    if page.missing.is_empty() {
        return String::new();
    }
    let lines: String = page
        .missing
        .iter()
        .map(|m| format!("<li>{}</li>", escape(m)))
        .collect();
    format!(
        "<section class=\"missing\" aria-labelledby=\"missing\"><h2 id=\"missing\">Not on this page</h2><ul>{lines}</ul></section>\n"
    )
}

fn model(page: &Page, layers: &[Layer], marks: Marks) -> String {
    let shapes: Vec<&[usize]> = page.tensors.iter().map(|t| t.shape.as_slice()).collect();
    let (drawing, each) = graph(layers, &shapes, marks, page.cost.unit);
    let grouped = if each > 1 {
        format!(
            "<p class=\"note\">{} layers are more than {MAX_BOXES} boxes: each box holds up to {each} consecutive ones.</p>",
            count(layers.len())
        )
    } else {
        String::new()
    };
    // a long table scrolls beside the graph, so that the rest of the page stays near
    let tall = if layers.len() > MAX_LINES {
        " tall"
    } else {
        ""
    };
    let source = match &page.profile {
        Some(profile) if profile.float => {
            format!("on the {} samples given", count(profile.samples))
        }
        _ => format!(
            "on the {} calibration samples",
            count(page.calibration.samples)
        ),
    };
    format!(
        "<section aria-labelledby=\"model\"><h2 id=\"model\">Model</h2><p class=\"lead\">Cost is the {unit} of a proof. Error is the mean distance \
         to the float model {source}, as a share of the tensor's range. Bars are relative to the largest.</p>\
         <p class=\"legend\"><span class=\"key hot\">costliest</span><span class=\"key lossy\">error grows most</span></p>{grouped}\
         <div class=\"beside\"><div class=\"scroll tall\" tabindex=\"0\" role=\"region\" aria-label=\"Graph of the model, scrolls\">{drawing}</div>\
         <div class=\"scroll{tall}\" tabindex=\"0\" role=\"region\" aria-label=\"Table of layers, scrolls\">{}</div></div></section>\n",
        layer_table(page, layers, marks),
        unit = page.cost.unit,
    )
}

/// A number with a bar behind it.
fn barred(class: &str, part: f64, text: &str) -> String {
    format!(
        "<td class=\"n {class}\" style=\"--p:{:.1}%\">{text}</td>",
        100.0 * part.clamp(0.0, 1.0)
    )
}

fn layer_table(page: &Page, layers: &[Layer], marks: Marks) -> String {
    let total = page.cost.total().max(1) as f64;
    let most_rows = layers.iter().map(|l| l.rows).max().unwrap_or(0).max(1) as f64;
    let shares = layers.iter().filter_map(|l| l.error).map(|e| e.share());
    let most_error = shares.fold(1e-12, f64::max);
    let mut rows = String::new();
    for (id, layer) in layers.iter().enumerate().take(MAX_TABLE_ROWS) {
        let last = layer.tensors.last().and_then(|&t| page.tensors.get(t));
        let tags = [
            (marks.costliest, "hot", "costliest"),
            (marks.lossiest, "lossy", "error grows most"),
        ];
        let tags: String = tags
            .iter()
            .filter(|(mark, ..)| *mark == Some(id))
            .map(|(_, class, text)| format!(" <span class=\"key {class}\">{text}</span>"))
            .collect();
        let error = match layer.error {
            Some(e) => {
                let steps = e.step.map_or("–".to_owned(), |step| real(e.of.max / step));
                barred("error", e.share() / most_error, &percent(e.share()))
                    + &format!("<td class=\"n\">{steps}</td>")
            }
            None => "<td class=\"n\">–</td><td class=\"n\">–</td>".to_owned(),
        };
        rows += &format!(
            "<tr id=\"layer-{id}\"><th scope=\"row\">{}{tags}</th>{}<td class=\"n\">{}</td>{error}<td>{}</td><td class=\"n\">{}</td></tr>",
            names(layer),
            barred("cost", layer.rows as f64 / most_rows, &count(layer.rows)),
            percent(layer.rows as f64 / total),
            escape(&layer.op) + &integers_of(layer, &page.tensors),
            last.map_or(String::new(), |t| shape(&t.shape)),
        );
    }
    let left_out = layers.len().saturating_sub(MAX_TABLE_ROWS);
    if left_out > 0 {
        let rest: usize = layers[MAX_TABLE_ROWS..].iter().map(|l| l.rows).sum();
        let line = shared_row(&format!("{} more layers", count(left_out)), rest, total);
        rows += &line.replacen("<tr", &format!("<tr id=\"layer-{MAX_TABLE_ROWS}\""), 1);
    }
    for (name, n) in &page.cost.shared {
        rows += &shared_row(name, *n, total);
    }
    let others = rows_of_no_layer(&page.tensors, &page.cost);
    if others > 0 {
        rows += &shared_row("other", others, total);
    }
    let unit = page.cost.unit;
    format!(
        "<table class=\"layers\"><caption>Layers: {unit} and error</caption><thead><tr><th scope=\"col\">layer</th><th scope=\"col\" class=\"n\">{unit}</th>\
         <th scope=\"col\" class=\"n\">share</th><th scope=\"col\" class=\"n\">mean error</th><th scope=\"col\" class=\"n\">largest, steps</th>\
         <th scope=\"col\">operator</th><th scope=\"col\" class=\"n\">shape</th></tr></thead><tbody>{rows}</tbody>\
         <tfoot><tr><th scope=\"row\">total</th><td class=\"n\">{}</td><td class=\"n\">100 %</td><td></td><td></td><td></td><td></td></tr></tfoot></table>",
        count(page.cost.total())
    )
}

/// A line for each of a layer's first tensors that have not the usual integers: their type, and why.
fn integers_of(layer: &Layer, tensors: &[TensorFacts]) -> String {
    let facts = layer.tensors.iter().filter_map(|&t| tensors.get(t));
    let told = facts.filter_map(|facts| facts.integers.as_ref());
    let line = |integers: &Integers| {
        let why = integers.reason.to_string();
        format!(
            "<br><small>{}: {}</small>",
            integers.type_name(),
            escape(&why)
        )
    };
    let unusual = told.filter(|integers| integers.reason != Reason::Usual);
    unusual.take(8).map(line).collect()
}

/// All names of a layer, where a line may break.
fn names(layer: &Layer) -> String {
    let shown = layer.names.iter().take(8).map(|name| escape(name));
    let mut text = shown.collect::<Vec<_>>().join("<br>");
    if layer.names.len() > 8 {
        text += &format!("<br>and {} more", layer.names.len() - 8);
    }
    text
}

fn shared_row(name: &str, rows: usize, total: f64) -> String {
    format!(
        "<tr class=\"shared\"><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td></td><td></td><td></td><td></td></tr>",
        escape(name),
        count(rows),
        percent(rows as f64 / total)
    )
}

fn activations(page: &Page, layers: &[Layer]) -> String {
    let Some(profile) = &page.profile else {
        return absent(
            "activations",
            "Activations",
            "Histograms need samples: --samples samples.npz.",
        );
    };
    let chosen = with_histogram(layers);
    let mut figures = String::new();
    for &tensor in &chosen {
        if let (Some(facts), Some(seen)) = (page.tensors.get(tensor), profile.tensors.get(tensor)) {
            figures += &figure(facts, &seen.histogram);
        }
    }
    let left_out = page.tensors.len().saturating_sub(chosen.len());
    let note = if left_out > 0 {
        format!(
            " Of {} tensors these {} are those of the costliest layers.",
            count(page.tensors.len()),
            count(chosen.len())
        )
    } else {
        String::new()
    };
    format!(
        "<section aria-labelledby=\"activations\"><h2 id=\"activations\">Activations</h2><p class=\"lead\">Integers that {} samples lead to, and where they lie \
         in the interval that is proved for every admissible input. Heights are logarithmic; the upright line stands at the integer for 0.{note}</p>\
         <div class=\"figures\">{figures}</div></section>\n",
        count(profile.samples)
    )
}

/// The tensors to draw, in order: all, or those of the layers with the most rows.
fn with_histogram(layers: &[Layer]) -> Vec<usize> {
    let mut by_cost: Vec<&Layer> = layers.iter().collect();
    by_cost.sort_by_key(|layer| std::cmp::Reverse(layer.rows));
    let mut chosen: Vec<usize> = by_cost
        .iter()
        .flat_map(|l| &l.tensors)
        .copied()
        .take(MAX_HISTOGRAMS)
        .collect();
    chosen.sort_unstable();
    chosen
}

fn figure(facts: &TensorFacts, seen: &Histogram) -> String {
    let span = |lo: i64, hi: i64| (i128::from(hi) - i128::from(lo) + 1) as f64;
    let share =
        percent(span(seen.least, seen.largest) / span(facts.interval[0], facts.interval[1]));
    let name = escape(&facts.name);
    let label = format!(
        "{name}, {}: values from {} to {}, {share} of the proved interval",
        facts.op,
        whole(seen.least),
        whole(seen.largest)
    );
    let scale = facts
        .quantization
        .map_or("a scale for each channel".to_owned(), |q| {
            format!("step {}, zero at {}", real(q.scale), whole(q.zero_point))
        });
    let mut rows = String::new();
    for (i, n) in seen.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        rows += &format!(
            "<tr><td>{}</td><td>{}</td></tr>",
            whole(seen.start(i)),
            whole(*n)
        );
    }
    format!(
        "<figure><figcaption><b>{name}</b> <span>{}</span><small>{share} of the proved interval · {scale}</small></figcaption>{}\
         <details><summary>Numbers</summary><div class=\"numbers\"><table><thead><tr><th scope=\"col\">from</th><th scope=\"col\">values</th></tr></thead>\
         <tbody>{rows}</tbody></table></div></details></figure>",
        facts.op,
        histogram(seen, facts.interval, facts.quantization, &label)
    )
}

/// A section that says why it is empty.
pub(super) fn absent(id: &str, title: &str, why: &str) -> String {
    format!(
        "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2><p class=\"absent\">{why}</p></section>\n"
    )
}

fn identity(page: &Page) -> String {
    let rows = |pairs: &[(String, String)]| -> String {
        let row = |(name, value): &(String, String)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                escape(name),
                escape(value)
            )
        };
        pairs.iter().map(row).collect()
    };
    format!(
        "<section aria-labelledby=\"identity\"><h2 id=\"identity\">Identity</h2><div class=\"beside even\"><table class=\"facts\"><caption>What was measured</caption><tbody>{}</tbody></table>\
         <table class=\"facts\"><caption>Keys and proofs</caption><tbody>{}</tbody></table></div></section>\n",
        rows(&page.identity),
        rows(&page.cost.figures)
    )
}

#[cfg(test)]
mod tests {
    use super::super::data::Cost;
    use super::*;
    use zkinfer_circuits::quantize::profile::{
        Accuracy, Confusion, Hits, OutputProfile, Profile, TensorProfile, Truth,
    };
    use zkinfer_circuits::quantize::{OutputReport, Report};
    use zkinfer_circuits::tensor::Quantization;

    const HOSTILE: &str = "\"><script>document.title='taken'</script><img src=x onerror=alert(1)>'`</style></title></svg>&lt;";

    /// A page about a chain of `n` layers whose names all end in `name`.
    fn chain(n: usize, name: &str) -> (Page, Vec<Option<TensorError>>) {
        let named = |i: usize| format!("{i}{name}");
        let tensor = |i: usize| TensorFacts {
            name: named(i),
            op: if i == 0 { "Input" } else { "Linear" },
            inputs: if i == 0 { vec![] } else { vec![i - 1] },
            shape: vec![1, 10],
            interval: [-128, 127],
            quantization: Some(Quantization {
                scale: 0.5,
                zero_point: 3,
            }),
            integers: Some(Integers {
                least: -128,
                largest: 4000,
                reason: Reason::ReadBy {
                    op: name.to_owned(),
                    node: name.to_owned(),
                    through_sums: true,
                },
            }),
        };
        let error = TensorError {
            mean: 0.1,
            max: 0.7,
            range: [-3.0, 5.0],
        };
        let values: Vec<i64> = (-128..128).collect();
        let hits = Hits {
            top_1: 9,
            top_5: 10,
        };
        let output = OutputProfile {
            name: name.to_owned(),
            classes: 10,
            points: vec![[0.0, 0.5], [1.0, 1.0]],
            agreement: Some(9),
            accuracy: Some(Accuracy {
                quantized: hits,
                float: Some(hits),
                lost: 1,
                gained: 1,
            }),
            confusion: Some(Confusion {
                truth: Truth::Label,
                cells: vec![(1, 1, 9), (2, 3, 1)],
                left_out: 0,
            }),
        };
        let page = Page {
            name: name.to_owned(),
            identity: vec![(name.to_owned(), name.to_owned())],
            claim: name.to_owned(),
            cost: Cost {
                system: name.to_owned(),
                unit: "constraints",
                by_node: (1..n).map(|i| (named(i), 10 * i)).collect(),
                shared: vec![(name.to_owned(), 1000), ("statement".to_owned(), 5)],
                figures: vec![(name.to_owned(), name.to_owned())],
            },
            tensors: (0..n).map(tensor).collect(),
            outputs: vec![(name.to_owned(), n - 1)],
            calibration: Report {
                samples: 10,
                layers: vec![],
                outputs: vec![OutputReport {
                    name: name.to_owned(),
                    argmax_agreement: 0.9,
                    mean_error_steps: 0.3,
                    max_error_steps: 2.0,
                }],
            },
            profile: Some(Profile {
                samples: 10,
                float: true,
                tensors: vec![
                    TensorProfile {
                        histogram: Histogram::of(&values),
                        error: Some(error)
                    };
                    n
                ],
                outputs: vec![output],
            }),
            missing: vec![name.to_owned()],
        };
        (page, vec![Some(error); n])
    }

    fn tags(html: &str) -> usize {
        html.matches('<').count()
    }

    #[test]
    fn hostile_names_are_text_everywhere() {
        let (kind, errors) = chain(5, "x");
        let (evil, _) = chain(5, HOSTILE);
        for profiled in [true, false] {
            let with = |page: &Page| Page {
                profile: page.profile.clone().filter(|_| profiled),
                ..page.clone()
            };
            let (kind, evil) = (
                super::page(&with(&kind), &errors),
                super::page(&with(&evil), &errors),
            );
            assert_eq!(tags(&kind), tags(&evil), "a name opened a tag");
            assert_eq!(
                kind.matches('"').count(),
                evil.matches('"').count(),
                "a name ended an attribute"
            );
            assert!(!evil.contains("<script") && !evil.contains("<img"));
            assert!(evil.contains("&lt;script&gt;"), "the name is shown");
        }
    }

    #[test]
    fn nothing_is_fetched() {
        let (page, errors) = chain(3, "x");
        let html = super::page(&page, &errors);
        for word in [
            "http:", "https:", "url(", "@import", "<script", "<iframe", "src=", "onload", "onclick",
        ] {
            assert!(!html.contains(word), "{word}");
        }
        assert!(html.contains("default-src 'none'"));
        assert_eq!(
            html,
            super::page(&page, &errors),
            "the same page for the same numbers"
        );
    }

    #[test]
    fn the_table_adds_up() {
        let (mut page, errors) = chain(5, "x");
        page.cost.by_node.push(("of no layer".to_owned(), 7));
        let html = super::page(&page, &errors);
        assert_eq!(page.cost.total(), 10 + 20 + 30 + 40 + 1000 + 5 + 7);
        assert!(html.contains("total</th><td class=\"n\">1,112</td>"));
        let others = "other</th><td class=\"n\">7</td>";
        assert!(html.contains(others), "rows of no layer are shown");
        assert_eq!(html.matches("<tr id=\"layer-").count(), 5);
        assert_eq!(html.matches("<svg class=\"histogram\"").count(), 5);
        assert_eq!(html.matches("<a class=\"box").count(), 5);
    }

    #[test]
    fn thousands_of_layers_fit_a_page() {
        let (page, errors) = chain(16_000, "/model/layers/block/attention/output");
        let html = super::page(&page, &errors);
        assert!(html.len() < 5 << 20, "{} bytes", html.len());
        assert!(html.matches("<a class=\"box").count() <= MAX_BOXES);
        assert!(html.contains("12,000 more layers"));
    }
}
