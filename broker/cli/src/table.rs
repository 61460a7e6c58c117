//! Tables for people: columns as wide as their widest cell, two spaces between.

/// `rows` under `head`; nothing at the end of a line, a line break at the end.
#[must_use]
pub fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    line(&mut out, head.iter().copied(), &widths);
    for row in rows {
        line(&mut out, row.iter().map(String::as_str), &widths);
    }
    out
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let mut text = String::new();
    for (cell, width) in cells.zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let rows = vec![
            vec!["orders".to_owned(), "12".to_owned()],
            vec!["größe".into(), "1".into()],
        ];
        let text = render(&["NAME", "PARTITIONS"], &rows);
        assert_eq!(text, "NAME    PARTITIONS\norders  12\ngröße   1\n");
        assert_eq!(render(&["NAME"], &[]), "NAME\n");
    }
}
