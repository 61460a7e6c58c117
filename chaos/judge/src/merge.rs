//! Several histories as one, by time.

use crate::event::Event;

/// Takes the earliest event of several sources, each of which is in order of time; the first source wins a tie.
/// An error comes out where its source has it, and does not end the others.
#[derive(Debug)]
pub struct Merge<I: Iterator<Item = Result<Event, E>>, E> {
    sources: Vec<I>,
    heads: Vec<Option<Result<Event, E>>>,
}

impl<I: Iterator<Item = Result<Event, E>>, E> Merge<I, E> {
    pub fn new(mut sources: Vec<I>) -> Self {
        let heads = sources.iter_mut().map(Iterator::next).collect();
        Merge { sources, heads }
    }
}

impl<I: Iterator<Item = Result<Event, E>>, E> Iterator for Merge<I, E> {
    /// The number of the source, and its event.
    type Item = (usize, Result<Event, E>);

    fn next(&mut self) -> Option<Self::Item> {
        let time = |head: &Result<Event, E>| head.as_ref().map_or(0, Event::t_us);
        let (_, source) = self
            .heads
            .iter()
            .enumerate()
            .filter_map(|(source, head)| Some((time(head.as_ref()?), source)))
            .min()?;
        let head = std::mem::replace(&mut self.heads[source], self.sources[source].next());
        Some((source, head?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Note;

    #[test]
    fn by_time_and_source() {
        let note = |t_us: u64| {
            Ok::<_, &str>(Event::Note(Note {
                t_us,
                text: String::new(),
            }))
        };
        let sources = vec![
            vec![note(1), note(5)],
            vec![],
            vec![note(1), Err("torn"), note(9)],
            vec![note(3)],
        ];
        let order: Vec<(usize, Result<u64, &str>)> =
            Merge::new(sources.into_iter().map(Vec::into_iter).collect())
                .map(|(source, event)| (source, event.map(|event| event.t_us())))
                .collect();
        let expected = [
            (0, Ok(1)),
            (2, Ok(1)),
            (2, Err("torn")),
            (3, Ok(3)),
            (0, Ok(5)),
            (2, Ok(9)),
        ];
        assert_eq!(order, expected);
    }
}
