//! Where the boxes of a layered graph go: ranks by the longest way from an input, order by the mean of the neighbours, edges over
//! several ranks through places of their own, so that no edge crosses a box.

/// Width of a box.
pub(super) const BOX_WIDTH: f64 = 232.0;
/// Height of a box.
pub(super) const BOX_HEIGHT: f64 = 72.0;
/// Between two boxes of a rank.
const GAP: f64 = 26.0;
/// Between two ranks.
const RANK_GAP: f64 = 34.0;
/// Width of an edge that passes a rank.
const LANE: f64 = 12.0;
/// Around everything.
const MARGIN: f64 = 8.0;
/// Most places of passing edges; beyond, long edges are drawn straight.
const MAX_LANES: usize = 4000;
/// Passes over the ranks that order them and place them.
const SWEEPS: usize = 6;

/// A drawing without ink.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Width of everything.
    pub(super) width: f64,
    /// Height of everything.
    pub(super) height: f64,
    /// The upper left corner of each box.
    pub(super) boxes: Vec<[f64; 2]>,
    /// For every edge the points it passes, from the lower side of a box to the upper side of another.
    pub(super) edges: Vec<Vec<[f64; 2]>>,
}

/// A box, or an edge that passes a rank.
struct Place {
    rank: usize,
    width: f64,
    above: Vec<usize>,
    below: Vec<usize>,
    /// Of its middle.
    x: f64,
}

/// Lays out boxes, each with the boxes it reads; an edge from a later box (a loop) is left out.
pub(super) fn layout(inputs: &[Vec<usize>]) -> Layout {
    let rank = ranks(inputs);
    let n_ranks = rank.iter().max().map_or(0, |r| r + 1);
    let mut places: Vec<Place> = rank
        .iter()
        .map(|&rank| Place {
            rank,
            width: BOX_WIDTH,
            above: vec![],
            below: vec![],
            x: 0.0,
        })
        .collect();
    let edges = connect(&mut places, inputs);
    let mut rows: Vec<Vec<usize>> = vec![vec![]; n_ranks];
    for (id, place) in places.iter().enumerate() {
        rows[place.rank].push(id);
    }
    for row in &rows {
        pack(&mut places, row);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        for step in 0..n_ranks {
            let row = &mut rows[if down { step } else { n_ranks - 1 - step }];
            arrange(&mut places, row, down);
        }
    }
    drawn(&places, &edges, inputs.len())
}

/// The longest way from a box without inputs.
fn ranks(inputs: &[Vec<usize>]) -> Vec<usize> {
    let mut rank = vec![0usize; inputs.len()];
    for (id, read) in inputs.iter().enumerate() {
        let above = read
            .iter()
            .filter(|&&from| from < id)
            .map(|&from| rank[from] + 1);
        rank[id] = above.max().unwrap_or(0);
    }
    // an input goes just above what reads it first
    for id in 0..inputs.len() {
        if inputs[id].is_empty() {
            let readers = (0..inputs.len()).filter(|&r| inputs[r].contains(&id));
            rank[id] = readers
                .map(|r| rank[r])
                .min()
                .map_or(0, |r| r.saturating_sub(1));
        }
    }
    rank
}

/// Joins neighbours, with places for edges on the ranks they pass; every edge as the places it goes through.
fn connect(places: &mut Vec<Place>, inputs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut edges = Vec::new();
    let mut lanes = 0;
    for (to, read) in inputs.iter().enumerate() {
        for &from in read.iter().filter(|&&from| from < to) {
            let (first, last) = (places[from].rank, places[to].rank);
            let passed = last.saturating_sub(first + 1);
            let mut way = vec![from];
            if lanes + passed <= MAX_LANES {
                lanes += passed;
                for rank in first + 1..last {
                    way.push(places.len());
                    places.push(Place {
                        rank,
                        width: LANE,
                        above: vec![],
                        below: vec![],
                        x: 0.0,
                    });
                }
            }
            way.push(to);
            for pair in way.windows(2) {
                places[pair[0]].below.push(pair[1]);
                places[pair[1]].above.push(pair[0]);
            }
            edges.push(way);
        }
    }
    edges
}

/// Side by side around 0.
fn pack(places: &mut [Place], row: &[usize]) {
    let width: f64 = row.iter().map(|&id| places[id].width + GAP).sum::<f64>() - GAP;
    let mut x = -width / 2.0;
    for &id in row {
        places[id].x = x + places[id].width / 2.0;
        x += places[id].width + GAP;
    }
}

/// Orders a rank by where its neighbours are and moves everything towards them, as far as there is room.
fn arrange(places: &mut [Place], row: &mut [usize], down: bool) {
    let wanted = |places: &[Place], id: usize| {
        let place = &places[id];
        let near = if down { &place.above } else { &place.below };
        if near.is_empty() {
            return place.x;
        }
        near.iter().map(|&n| places[n].x).sum::<f64>() / near.len() as f64
    };
    let mut order: Vec<(f64, usize)> = row.iter().map(|&id| (wanted(places, id), id)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (slot, (_, id)) in row.iter_mut().zip(&order) {
        *slot = *id;
    }
    // to the right as far as needed, then back by the mean, so that nothing drifts
    let mut edge = f64::NEG_INFINITY;
    let mut drift = 0.0;
    for &(wish, id) in &order {
        let half = places[id].width / 2.0;
        let x = wish.max(edge + half);
        drift += x - wish;
        edge = x + half + GAP;
        places[id].x = x;
    }
    let back = drift / order.len().max(1) as f64;
    for &(_, id) in &order {
        places[id].x -= back;
    }
}

fn drawn(places: &[Place], edges: &[Vec<usize>], n_boxes: usize) -> Layout {
    let left = places
        .iter()
        .map(|p| p.x - p.width / 2.0)
        .fold(f64::INFINITY, f64::min);
    let right = places
        .iter()
        .map(|p| p.x + p.width / 2.0)
        .fold(f64::NEG_INFINITY, f64::max);
    let top = |rank: usize| MARGIN + rank as f64 * (BOX_HEIGHT + RANK_GAP);
    let x = |id: usize| places[id].x - left + MARGIN;
    let way = |edge: &Vec<usize>| {
        let (from, to) = (edge[0], edge[edge.len() - 1]);
        let mut points = vec![[x(from), top(places[from].rank) + BOX_HEIGHT]];
        for &lane in &edge[1..edge.len() - 1] {
            let y = top(places[lane].rank);
            points.extend([[x(lane), y], [x(lane), y + BOX_HEIGHT]]);
        }
        points.push([x(to), top(places[to].rank)]);
        points
    };
    let n_ranks = places.iter().map(|p| p.rank + 1).max().unwrap_or(0);
    Layout {
        width: if places.is_empty() {
            0.0
        } else {
            right - left + 2.0 * MARGIN
        },
        height: top(n_ranks) - RANK_GAP + MARGIN,
        boxes: (0..n_boxes)
            .map(|id| [x(id) - BOX_WIDTH / 2.0, top(places[id].rank)])
            .collect(),
        edges: edges.iter().map(way).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaps(layout: &Layout) -> bool {
        let boxes = &layout.boxes;
        let near = |a: &[f64; 2], b: &[f64; 2]| {
            (a[0] - b[0]).abs() < BOX_WIDTH && (a[1] - b[1]).abs() < BOX_HEIGHT
        };
        (0..boxes.len()).any(|a| (0..a).any(|b| near(&boxes[a], &boxes[b])))
    }

    #[test]
    fn a_chain_is_straight() {
        let layout = layout(&[vec![], vec![0], vec![1], vec![2]]);
        assert!(layout.boxes.iter().all(|b| b[0] == layout.boxes[0][0]));
        assert!(
            layout
                .edges
                .iter()
                .all(|e| e.len() == 2 && e[0][0] == e[1][0])
        );
    }

    #[test]
    fn an_edge_passes_beside_the_boxes_it_skips() {
        let layout = layout(&[vec![], vec![0], vec![1], vec![2, 0]]);
        assert!(!overlaps(&layout), "{layout:?}");
        let skip = layout.edges.iter().find(|e| e.len() > 2).unwrap();
        for [x, y] in &skip[1..skip.len() - 1] {
            let hit = layout.boxes.iter().any(|b| {
                (b[0]..b[0] + BOX_WIDTH).contains(x) && (b[1]..=b[1] + BOX_HEIGHT).contains(y)
            });
            assert!(!hit, "{layout:?}");
        }
    }

    #[test]
    fn wide_and_odd_graphs_do_not_overlap() {
        // 3 inputs, a fan, a loop, a box that nothing reads
        let mut inputs = vec![
            vec![],
            vec![],
            vec![],
            vec![0, 1],
            vec![3, 6],
            vec![3],
            vec![2, 4, 5],
        ];
        inputs.extend((0..20).map(|i| vec![i % 7, 6]));
        let layout = layout(&inputs);
        assert!(!overlaps(&layout));
        let inside = |p: &[f64; 2]| {
            p[0] >= 0.0 && p[1] >= 0.0 && p[0] <= layout.width && p[1] <= layout.height
        };
        assert!(layout.boxes.iter().all(inside) && layout.edges.iter().flatten().all(inside));
        assert_eq!(super::layout(&[]).boxes.len(), 0);
    }
}
