//! The charts of the documentation, as SVG for a light and for a dark page.

#![allow(dead_code, reason = "each benchmark draws one of the charts")]

use std::{error::Error, fs};

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/charts");
const SIZE: (u32, u32) = (760, 400);
const FONT: &str = "sans-serif";

struct Theme {
    name: &'static str,
    background: RGBColor,
    text: RGBColor,
    grid: RGBColor,
    lines: [RGBColor; 6],
}

/// The colours of Okabe and Ito, which people with colour-blindness can tell apart.
const THEMES: [Theme; 2] = [
    Theme {
        name: "light",
        background: RGBColor(255, 255, 255),
        text: RGBColor(31, 35, 40),
        grid: RGBColor(225, 228, 232),
        lines: [
            RGBColor(0, 114, 178),
            RGBColor(213, 94, 0),
            RGBColor(0, 158, 115),
            RGBColor(204, 121, 167),
            RGBColor(180, 140, 0),
            RGBColor(110, 119, 129),
        ],
    },
    Theme {
        name: "dark",
        background: RGBColor(13, 17, 23),
        text: RGBColor(230, 237, 243),
        grid: RGBColor(48, 54, 61),
        lines: [
            RGBColor(86, 180, 233),
            RGBColor(230, 159, 0),
            RGBColor(0, 190, 140),
            RGBColor(224, 150, 190),
            RGBColor(240, 228, 66),
            RGBColor(139, 148, 158),
        ],
    },
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a chart in both themes: `docs/charts/<name>-<theme>.svg`.
fn draw(name: &str, chart: impl Fn(&Area<'_>, &Theme) -> Result<(), Box<dyn Error>>) {
    fs::create_dir_all(FOLDER).expect("the folder of the charts");
    for theme in &THEMES {
        let path = format!("{FOLDER}/{name}-{}.svg", theme.name);
        let area = SVGBackend::new(&path, SIZE).into_drawing_area();
        area.fill(&theme.background).expect("a background");
        chart(&area, theme).expect("a chart");
        area.present().expect("a file");
    }
}

/// Read units of requests over the size of the catalog. The last line is drawn thinner: it is what the others are compared
/// with.
pub(crate) fn read_units(sizes: &[usize], lines: &[(String, Vec<f64>)]) {
    draw("read-units", |area, theme| {
        let ends = (as_float(sizes[0]), as_float(sizes[sizes.len() - 1]));
        let highest = lines.iter().flat_map(|(_, units)| units).copied().fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption("Read units of a page, by the size of the catalog", (FONT, 18, &theme.text))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((ends.0..ends.1).log_scale(), (1.0..highest * 1.5).log_scale())?;
        chart
            .configure_mesh()
            .bold_line_style(theme.grid)
            .light_line_style(theme.background)
            .axis_style(theme.text)
            .label_style((FONT, 13, &theme.text))
            .axis_desc_style((FONT, 13, &theme.text))
            .x_desc("offerings in the catalog")
            .y_desc("read units")
            .x_label_formatter(&|size| thousands(*size))
            .y_label_formatter(&|units| thousands(*units))
            .draw()?;
        for (number, (name, units)) in lines.iter().enumerate() {
            let is_reference = number + 1 == lines.len();
            let color = theme.lines[if is_reference { theme.lines.len() - 1 } else { number }];
            let width = if is_reference { 1 } else { 3 };
            let points: Vec<(f64, f64)> =
                sizes.iter().zip(units).map(|(size, units)| (as_float(*size), *units)).collect();
            chart
                .draw_series(LineSeries::new(points.clone(), color.stroke_width(width)))?
                .label(name.as_str())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(width))
                });
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font((FONT, 13, &theme.text))
            .background_style(theme.background)
            .border_style(theme.grid)
            .draw()?;
        Ok(())
    });
}

/// The start and the CPU time of a request of each handler, in milliseconds.
pub(crate) fn peers(bars: &[(&str, f64, f64)]) {
    draw("peers", |area, theme| {
        let title =
            "A page of 100 offerings: list-offerings beside handlers as they are usually written";
        let area =
            area.titled(title, TextStyle::from((FONT, 16).into_font()).color(&theme.text))?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        let panels = [
            ("start to first poll, ms", left, bars.iter().map(|bar| bar.1).collect::<Vec<_>>()),
            ("CPU of a request, ms", right, bars.iter().map(|bar| bar.2).collect()),
        ];
        for (caption, area, values) in panels {
            let names: Vec<&str> = bars.iter().map(|bar| bar.0).collect();
            panel(&area, theme, caption, &names, &values)?;
        }
        Ok(())
    });
}

/// Horizontal bars, each with its name above it and its value at its end.
fn panel(
    area: &Area<'_>,
    theme: &Theme,
    caption: &str,
    names: &[&str],
    values: &[f64],
) -> Result<(), Box<dyn Error>> {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = (i32::try_from(width)?, i32::try_from(height)?);
    let longest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let label = |size: i32| TextStyle::from((FONT, size).into_font()).color(&theme.text);
    area.draw(&Text::new(caption.to_owned(), (24, 8), label(14)))?;
    let step = (height - 44) / i32::try_from(names.len().max(1))?;
    for (number, (name, value)) in names.iter().zip(values).enumerate() {
        let top = 40 + step * i32::try_from(number)?;
        #[expect(clippy::cast_possible_truncation, reason = "pixels")]
        let length = (f64::from(width - 110) * value / longest).round() as i32;
        let color = theme.lines[if number == 0 { 0 } else { theme.lines.len() - 1 }];
        area.draw(&Text::new((*name).to_owned(), (24, top), label(13)))?;
        let (upper, lower) = (top + 20, top + 20 + (step - 40).clamp(12, 28));
        let bar = Rectangle::new([(24, upper), (24 + length.max(2), lower)], color.filled());
        area.draw(&bar)?;
        let style = label(13).pos(Pos::new(HPos::Left, VPos::Center));
        let place = (24 + length + 8, i32::midpoint(upper, lower));
        area.draw(&Text::new(format!("{value:.2}"), place, style))?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of catalogs")]
fn as_float(size: usize) -> f64 {
    size as f64
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
