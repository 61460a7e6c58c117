//! Circles in a directed graph: its strongly connected components of more than one node (Tarjan's
//! algorithm, without recursion).

const UNSEEN: u32 = u32::MAX;

/// Each circle's nodes, ascending.
pub(crate) fn circles(nodes: usize, edges: &[(u32, u32)]) -> Vec<Vec<u32>> {
    let mut next: Vec<Vec<u32>> = vec![Vec::new(); nodes];
    for (from, to) in edges {
        next[*from as usize].push(*to);
    }
    let mut order = vec![UNSEEN; nodes];
    let mut lowest = vec![UNSEEN; nodes];
    let mut on_stack = vec![false; nodes];
    let mut stack = Vec::new();
    let mut seen = 0;
    let mut found = Vec::new();
    for root in 0..nodes as u32 {
        if order[root as usize] != UNSEEN {
            continue;
        }
        // A node and how many of its edges were followed.
        let mut path = vec![(root, 0)];
        while let Some((node, followed)) = path.pop() {
            let at = node as usize;
            if followed == 0 {
                order[at] = seen;
                lowest[at] = seen;
                seen += 1;
                stack.push(node);
                on_stack[at] = true;
            }
            if let Some(&to) = next[at].get(followed) {
                path.push((node, followed + 1));
                if order[to as usize] == UNSEEN {
                    path.push((to, 0));
                } else if on_stack[to as usize] {
                    lowest[at] = lowest[at].min(order[to as usize]);
                }
                continue;
            }
            if let Some((parent, _)) = path.last() {
                let parent = *parent as usize;
                lowest[parent] = lowest[parent].min(lowest[at]);
            }
            if lowest[at] == order[at] {
                let begin = stack.iter().rposition(|other| *other == node).unwrap_or(0);
                let mut circle = stack.split_off(begin);
                circle
                    .iter()
                    .for_each(|member| on_stack[*member as usize] = false);
                if circle.len() > 1 {
                    circle.sort_unstable();
                    found.push(circle);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::circles;

    #[test]
    fn finds_circles_and_nothing_else() {
        assert!(circles(0, &[]).is_empty());
        assert!(circles(4, &[(0, 1), (1, 2), (0, 2), (2, 3)]).is_empty());
        assert_eq!(circles(4, &[(0, 1), (1, 2), (2, 0), (2, 3)]), [[0, 1, 2]]);
        let mut two = circles(5, &[(0, 1), (1, 0), (1, 2), (3, 4), (4, 3), (2, 3)]);
        two.sort();
        assert_eq!(two, [[0, 1], [3, 4]]);
        // Deep: recursion would overflow.
        let chain: Vec<(u32, u32)> = (0..200_000)
            .map(|node| (node, (node + 1) % 200_000))
            .collect();
        assert_eq!(circles(200_000, &chain).len(), 1);
    }
}
