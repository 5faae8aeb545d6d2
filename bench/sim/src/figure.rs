//! Figure 1 of seed 003 as the paper draws it: clients, servers and aborted sessions over time, and below them the 5th, 50th and 95th
//! percentile of latency; for several policies, with equal axes so that they can be compared.
//!
//! The rows come from the simulator or from files that real processes wrote; nothing here may tell the two apart.

use crate::run::Run;
use farm_shared::plot::{Figure, Mark, Panel, Scale, Series};

/// One policy's run over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// As in the heading.
    pub name: String,
    /// In order of time.
    pub moments: Vec<Moment>,
}

/// The farm and its clients at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Seconds from the start.
    pub t_s: f64,
    /// Sessions, and clients that wait for one.
    pub clients: f64,
    /// Clients that wait.
    pub waiting: f64,
    /// Servers in service or draining.
    pub servers: f64,
    /// Servers that boot.
    pub booting: f64,
    /// Sessions aborted so far: timeouts, lost servers, clients that gave up.
    pub aborted: f64,
    /// 5th, 50th and 95th percentile of latency, in the unit of the figure; none when nothing was asked.
    pub latency: Option<[f64; 3]>,
}

/// The row of a simulated run.
pub fn row(name: &str, run: &Run) -> Row {
    let moments = run.series.iter().map(|s| Moment {
        t_s: s.t_s,
        clients: f64::from(s.clients),
        waiting: f64::from(s.waiting),
        servers: f64::from(s.live + s.draining),
        booting: f64::from(s.booting),
        aborted: s.aborted as f64,
        latency: Some(s.latency),
    });
    Row { name: name.into(), moments: moments.collect() }
}

/// The figure: for each row the load with its servers, the latency, and those who waited or aborted.
pub fn figure(title: &str, subtitle: &str, latency_label: &str, rows: &[Row]) -> Figure {
    let all = || rows.iter().flat_map(|r| &r.moments);
    let most = |of: fn(&Moment) -> f64| all().map(of).fold(0.0, f64::max);
    let clients_max = most(|m| m.clients);
    let latency_max = most(|m| m.latency.map_or(0.0, |l| l[2]));
    let harm_max = most(|m| m.aborted.max(m.waiting)).max(1.0);
    let mut panels = Vec::new();
    for row in rows {
        let points = |of: fn(&Moment) -> f64| row.moments.iter().map(move |m| (m.t_s, of(m)));
        let name = &row.name;
        panels.push(Panel {
            y_label: format!("{name}: clients"),
            y_label_right: "servers".into(),
            y_max: Some(clients_max),
            series: vec![
                Series::new("clients", 0, Mark::Line, points(|m| m.clients)),
                Series::new("servers in service", 2, Mark::Step, points(|m| m.servers)).on_the_right(),
                Series::new("with those booting", 4, Mark::Dashed, points(|m| m.servers + m.booting)).on_the_right(),
            ],
            ..Panel::default()
        });
        let asked = || row.moments.iter().filter_map(|m| Some((m.t_s, m.latency?)));
        panels.push(Panel {
            y_label: latency_label.into(),
            scale: Scale::Log,
            y_max: Some(latency_max),
            height: 120.0,
            series: vec![
                Series::new("5 % to 95 %", 0, Mark::Band, asked().map(|(t, l)| (t, l[0], l[2]))),
                Series::new("median", 0, Mark::Line, asked().map(|(t, l)| (t, l[1]))),
            ],
            ..Panel::default()
        });
        panels.push(Panel {
            y_label: "sessions".into(),
            y_max: Some(harm_max),
            height: 80.0,
            series: vec![
                Series::new("aborted so far", 1, Mark::Line, points(|m| m.aborted)),
                Series::new("waiting", 3, Mark::Line, points(|m| m.waiting)),
            ],
            ..Panel::default()
        });
    }
    Figure { title: title.into(), subtitle: subtitle.into(), x_label: "time".into(), panels, ..Figure::default() }
}
