//! Draws one chart as SVG: lines over a logarithmic axis of sizes. Pure.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Colours that people with any kind of colour blindness can tell apart (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c00"];
/// The number of horizontal lines, at most and roughly.
const STEPS: f64 = 6.0;

/// A chart of one or more lines.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// The title above the chart.
    pub title: String,
    /// The text below the axis of sizes.
    pub x: String,
    /// Whether the other axis is logarithmic as well.
    pub logarithmic: bool,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// The sizes and their values, in the order of sizes.
    pub points: Vec<(f64, f64)>,
}

/// An axis: maps values to positions.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Chart {
    /// The picture; `None` if there is nothing to draw.
    pub fn to_svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let (x_low, x_high) = crate::statistics::range(points().map(|(x, _)| x))?;
        let (y_low, y_high) = crate::statistics::range(points().map(|(_, y)| y))?;
        let x = Axis::new((x_low, x_high), true, (LEFT, WIDTH - RIGHT));
        let low = if self.logarithmic { y_low.max(y_high * 1e-6) } else { y_low.min(0.0) };
        let y = Axis::new((low, y_high), self.logarithmic, (HEIGHT - BOTTOM, TOP));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        text(&mut svg, (middle, 22.0), "middle", &self.title);
        text(&mut svg, (middle, HEIGHT - 10.0), "middle", &self.x);
        self.draw_scales(&mut svg, &x, &y);
        for (index, series) in self.series.iter().enumerate() {
            draw_line(&mut svg, series, COLOURS[index % COLOURS.len()], &x, &y);
            let at = TOP + 18.0 * (index as f64 + 0.5);
            let colour = COLOURS[index % COLOURS.len()];
            let start = WIDTH - RIGHT + 12.0;
            line(&mut svg, (start, at - 4.0), (start + 18.0, at - 4.0), colour, 3.0);
            text(&mut svg, (start + 24.0, at), "start", &series.name);
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn draw_scales(&self, svg: &mut String, x: &Axis, y: &Axis) {
        for value in y.marks() {
            let at = y.place(value);
            line(svg, (LEFT, at), (WIDTH - RIGHT, at), "#dddddd", 1.0);
            text(svg, (LEFT - 8.0, at + 4.0), "end", &number(value));
        }
        let mut sizes: Vec<f64> = self
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(|point| point.0))
            .collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        for size in sizes {
            let at = x.place(size);
            line(svg, (at, HEIGHT - BOTTOM), (at, HEIGHT - BOTTOM + 5.0), "#888888", 1.0);
            text(svg, (at, HEIGHT - BOTTOM + 18.0), "middle", &number(size));
        }
    }
}

impl Axis {
    fn new((low, high): (f64, f64), logarithmic: bool, (from, to): (f64, f64)) -> Self {
        // A single value still needs an axis of some length.
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, logarithmic, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part * (self.to - self.from)
    }

    /// The round numbers on it.
    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.low.log10().ceil();
            let powers = std::iter::successors(Some(first), |power| Some(power + 1.0));
            return powers
                .map(|power| 10f64.powf(power))
                .take_while(|mark| *mark <= self.high)
                .collect();
        }
        let rough = (self.high - self.low) / STEPS;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let marks = std::iter::successors(Some(0.0), |mark| Some(mark + step));
        marks.take_while(|mark| *mark <= self.high * 1.000_001).collect()
    }
}

fn draw_line(svg: &mut String, series: &Series, colour: &str, x: &Axis, y: &Axis) {
    let places = series.points.iter().map(|(size, value)| (x.place(*size), y.place(*value)));
    let path: Vec<String> = places.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(
        svg,
        &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        ),
    );
    for (x, y) in places {
        put(svg, &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    put(
        svg,
        &format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
             stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        ),
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    put(svg, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
}

fn put(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("writing to a string does not fail");
}

/// Writes a number with a separator for thousands, and with more decimals the smaller it is.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size < 0.1 => 3,
        size if size < 1.0 => 2,
        size if size < 20.0 && value.fract() != 0.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: numbers are readable. Method: numbers of several sizes.
    #[test]
    fn numbers_are_readable() {
        let texts = [0.0, 0.0123, 0.5, 5.0, 9.87, 123.4, 12_345.6, 1e6].map(number);
        assert_eq!(texts, ["0", "0.012", "0.50", "5", "9.9", "123", "12,346", "1,000,000"]);
    }

    /// Goal: a larger value is higher, and a larger size is further right. Method: positions on both axes.
    #[test]
    fn axes_point_the_right_way() {
        let x = Axis::new((10.0, 1000.0), true, (0.0, 100.0));
        assert!((x.place(100.0) - 50.0).abs() < 1e-9);
        let y = Axis::new((0.0, 8.0), false, (100.0, 0.0));
        assert!(y.place(6.0) < y.place(2.0));
        assert_eq!(y.marks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
    }

    /// Goal: without values there is no chart; with values it shows all names. Method: both.
    #[test]
    fn a_chart_shows_every_line() {
        assert_eq!(Chart::default().to_svg(), None);
        let series =
            |name: &str| Series { name: name.to_owned(), points: vec![(1.0, 2.0), (9.0, 4.0)] };
        let chart = Chart { series: vec![series("a < b"), series("c")], ..Chart::default() };
        let svg = chart.to_svg().unwrap();
        assert!(svg.contains("a &lt; b") && svg.contains(">c<"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
    }
}
