//! Charts over time as SVG text and as lines for a terminal: what experiments, replays and simulations are shown with.
//!
//! A [`Figure`] is a few panels above each other that share one x axis. The text is complete in itself: it names no font file,
//! style sheet or script, and follows the reader's light or dark scheme. Nothing here may open a file; the caller writes the text.
//! Numbers that are not finite are gaps, never coordinates.

mod axis;
mod spark;
mod svg;

pub use spark::{curve, spark};

/// Several panels above each other, over one x axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Its heading.
    pub title: String,
    /// A line below the heading; none if empty.
    pub subtitle: String,
    /// What x is, with its unit; for [`XUnit::Seconds`] the unit is written at the ticks.
    pub x_label: String,
    /// How x is written.
    pub x_unit: XUnit,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// How x values are written at the ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XUnit {
    /// Seconds, written as minutes, hours or days where that is shorter.
    #[default]
    Seconds,
    /// As they are.
    Plain,
}

/// One panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What y is, with its unit.
    pub y_label: String,
    /// What y is on the right, for series with [`Series::right`].
    pub y_label_right: String,
    /// Of the plotting area, in pixels of a figure 860 wide.
    pub height: f64,
    /// How y is laid out.
    pub scale: Scale,
    /// The top of the y axis, if it must not follow the data: two figures that are to be compared want the same one.
    pub y_max: Option<f64>,
    /// In the order of painting.
    pub series: Vec<Series>,
}

/// How y is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// From zero (or below it, if the data go there).
    #[default]
    Linear,
    /// In decades. What is not positive is a gap.
    Log,
}

/// One named row of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// As in the legend; not listed there if empty.
    pub name: String,
    /// One of eight colours, counted from 0 and round again; two series of one number look alike.
    pub colour: usize,
    /// How it is drawn.
    pub mark: Mark,
    /// It is measured by the axis on the right.
    pub right: bool,
    /// Ordered by x.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// The value; the upper edge of a band.
    pub y: f64,
    /// The lower edge of a band or an area.
    pub low: f64,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Straight from point to point.
    #[default]
    Line,
    /// The same, dashed.
    Dashed,
    /// A value holds until the next point: numbers of servers.
    Step,
    /// Filled down to `low`, in steps.
    Area,
    /// Filled between `low` and `y`, straight from point to point: percentiles.
    Band,
    /// Points alone.
    Dots,
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self { x, y, low: 0.0 }
    }
}

impl From<(f64, f64, f64)> for Point {
    fn from((x, low, y): (f64, f64, f64)) -> Self {
        Self { x, y, low }
    }
}

impl Series {
    /// A series measured by the left axis. Points are `(x, y)`, or `(x, low, y)` for bands and areas.
    pub fn new<P: Into<Point>>(name: &str, colour: usize, mark: Mark, points: impl IntoIterator<Item = P>) -> Self {
        Self { name: name.into(), colour, mark, right: false, points: points.into_iter().map(Into::into).collect() }
    }

    /// The same, measured by the axis on the right.
    #[must_use]
    pub fn on_the_right(mut self) -> Self {
        self.right = true;
        self
    }
}

impl Default for Panel {
    fn default() -> Self {
        Self {
            y_label: String::new(),
            y_label_right: String::new(),
            height: 150.0,
            scale: Scale::Linear,
            y_max: None,
            series: Vec::new(),
        }
    }
}

impl Panel {
    /// A panel with a linear axis.
    pub fn new(y_label: &str, series: Vec<Series>) -> Self {
        Self { y_label: y_label.into(), series, ..Self::default() }
    }
}

impl Figure {
    /// The figure as an SVG document.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }
}
