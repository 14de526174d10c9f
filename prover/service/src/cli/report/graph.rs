//! The model as a layered graph: a box for each layer, with a bar for what it costs and a bar for how far it is from the float model.

use super::layers::Layer;
use super::layout::{BOX_HEIGHT, BOX_WIDTH, layout};
use super::page::MAX_TABLE_ROWS;
use super::text::{at, count, escape, percent, shape, shortened};

/// Most boxes that are drawn; beyond, consecutive layers share one.
pub(super) const MAX_BOXES: usize = 240;
/// Where a box's bars begin and how long they can be.
const BAR: [f64; 2] = [44.0, 116.0];

/// What stands in one box.
struct Shown {
    op: String,
    name: String,
    shape: String,
    rows: usize,
    error: Option<f64>,
    target: usize,
    hot: bool,
    lossy: bool,
}

/// Which layers the graph points at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// The one with the most rows.
    pub(super) costliest: Option<usize>,
    /// The one in which the error grows most.
    pub(super) lossiest: Option<usize>,
}

/// The graph as SVG, and how many layers stand in one box.
pub(super) fn graph(
    layers: &[Layer],
    shapes: &[&[usize]],
    marks: Marks,
    unit: &str,
) -> (String, usize) {
    let each = layers.len().div_ceil(MAX_BOXES).max(1);
    let n_boxes = layers.len().div_ceil(each);
    let mut inputs = vec![Vec::new(); n_boxes];
    for (id, layer) in layers.iter().enumerate() {
        for from in layer.inputs.iter().map(|from| from / each) {
            if from != id / each && !inputs[id / each].contains(&from) {
                inputs[id / each].push(from);
            }
        }
    }
    let shown: Vec<Shown> = layers
        .chunks(each)
        .enumerate()
        .map(|(number, group)| shown(group, number * each, shapes, marks))
        .collect();
    let most_rows = shown.iter().map(|s| s.rows).max().unwrap_or(0).max(1) as f64;
    let most_error = shown.iter().filter_map(|s| s.error).fold(1e-12, f64::max);
    let plan = layout(&inputs);
    let mut svg = format!(
        "<svg class=\"graph\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"group\" aria-label=\"Graph of the model\"><g class=\"edges\">",
        at(plan.width),
        at(plan.height)
    );
    for edge in &plan.edges {
        svg += &format!("<path d=\"{}\"/>", curve(edge));
    }
    svg += "</g>";
    for (one, place) in shown.iter().zip(&plan.boxes) {
        svg += &boxed(one, *place, [most_rows, most_error], unit);
    }
    (svg + "</svg>", each)
}

fn shown(group: &[Layer], first: usize, shapes: &[&[usize]], marks: Marks) -> Shown {
    let last = &group[group.len() - 1];
    let error = group.iter().filter_map(|l| l.error).map(|e| e.share());
    let within =
        |mark: Option<usize>| mark.is_some_and(|m| (first..first + group.len()).contains(&m));
    Shown {
        op: match group {
            [only] => only.op.clone(),
            _ => format!("{} layers", group.len()),
        },
        name: match group {
            [only] => only.title(),
            _ => format!("{} … {}", group[0].title(), last.title()),
        },
        shape: last
            .tensors
            .last()
            .and_then(|&t| shapes.get(t))
            .map_or(String::new(), |s| shape(s)),
        rows: group.iter().map(|l| l.rows).sum(),
        error: error.fold(None, |most: Option<f64>, e| {
            Some(most.map_or(e, |m| m.max(e)))
        }),
        target: first,
        hot: within(marks.costliest),
        lossy: within(marks.lossiest),
    }
}

/// Down through the points, leaving and arriving upright.
fn curve(points: &[[f64; 2]]) -> String {
    let mut path = format!("M{} {}", at(points[0][0]), at(points[0][1]));
    for pair in points.windows(2) {
        let ([x0, y0], [x1, y1]) = (pair[0], pair[1]);
        if x0 == x1 {
            path += &format!("V{}", at(y1));
        } else {
            let middle = at((y0 + y1) / 2.0);
            path += &format!(
                "C{} {middle} {} {middle} {} {}",
                at(x0),
                at(x1),
                at(x1),
                at(y1)
            );
        }
    }
    path
}

fn boxed(one: &Shown, [x, y]: [f64; 2], [most_rows, most_error]: [f64; 2], unit: &str) -> String {
    let rows = count(one.rows);
    let error = one.error.map_or("–".to_owned(), percent);
    let said = format!(
        "{} {}: {rows} {unit}, {}",
        one.op,
        one.name,
        one.error
            .map_or("no float tensor to compare with".to_owned(), |e| format!(
                "mean error {} of its range",
                percent(e)
            ))
    );
    let said = escape(&said);
    let marks = [(one.hot, " hot"), (one.lossy, " lossy")];
    let class: String = marks
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    let bar = |class: &str, y: f64, part: f64| {
        let [from, long] = BAR;
        let filled = if part > 0.0 {
            (part * long).max(1.0)
        } else {
            0.0
        };
        format!(
            "<rect class=\"track\" x=\"{from}\" y=\"{y}\" width=\"{long}\" height=\"6\" rx=\"1\"/>\
             <rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"6\" rx=\"1\"/>",
            at(filled)
        )
    };
    let end = BOX_WIDTH - 10.0;
    format!(
        "<a class=\"box{class}\" href=\"#layer-{target}\" aria-label=\"{said}\" transform=\"translate({x} {y})\"><title>{said}</title>\
         <rect class=\"body\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"5\"/>\
         <text class=\"op\" x=\"10\" y=\"18\">{op}</text><text class=\"dim end\" x=\"{end}\" y=\"18\">{dims}</text>\
         <text class=\"name\" x=\"10\" y=\"34\">{name}</text>\
         <text class=\"dim\" x=\"10\" y=\"50\">cost</text>{cost}<text class=\"end\" x=\"{end}\" y=\"50\">{rows}</text>\
         <text class=\"dim\" x=\"10\" y=\"64\">error</text>{error_bar}<text class=\"end\" x=\"{end}\" y=\"64\">{error}</text></a>",
        target = one.target.min(MAX_TABLE_ROWS),
        x = at(x),
        y = at(y),
        op = escape(&shortened(&one.op, 16)),
        dims = shortened(&one.shape, 20),
        name = escape(&shortened(&one.name, 29)),
        cost = bar("cost", 43.5, one.rows as f64 / most_rows),
        error_bar = bar("error", 57.5, one.error.map_or(0.0, |e| e / most_error)),
    )
}
