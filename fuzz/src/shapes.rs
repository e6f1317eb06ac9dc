//! Chains of views and broadcasting.

use arbitrary::{Result, Unstructured};
use wengert::Tape;

use crate::nd::{Graph, Nd, broadcast};
use crate::ops::{Made, T};

/// One view of `x`, of at most `max` elements, on both sides.
pub fn view<'t>(u: &mut Unstructured<'_>, x: T<'t>, nd: &Nd, max: usize) -> Result<Made<'t>> {
    let (code, rank) = (u.arbitrary::<u8>()? % 6, nd.shape.len());
    let sign = |axis: usize, back: bool| if back { axis as isize - rank as isize } else { axis as isize };
    Ok(Some(match code {
        0 => {
            let shape = factors(u, nd)?;
            (format!("reshape {shape:?}"), x.reshape(&shape), nd.reshape(&shape))
        }
        1 if rank > 0 => {
            let i = usize::from(u.arbitrary::<u8>()?) % rank;
            let j = usize::from(u.arbitrary::<u8>()?) % rank;
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.swap(i, j);
            (format!("transpose {i} {j}"), x.transpose(sign(i, true), sign(j, false)), nd.permute(&axes))
        }
        2 => {
            let mut axes: Vec<usize> = (0..rank).collect();
            for i in (1..rank).rev() {
                axes.swap(i, usize::from(u.arbitrary::<u8>()?) % (i + 1));
            }
            let back = u.arbitrary::<bool>()?;
            let signed: Vec<isize> = axes.iter().map(|&a| sign(a, back)).collect();
            (format!("permute {axes:?}"), x.permute(signed), nd.permute(&axes))
        }
        3 => {
            let mut shape = nd.shape.clone();
            for n in shape.iter_mut().filter(|n| **n == 1) {
                *n = usize::from(u.arbitrary::<u8>()? % 4);
            }
            for _ in 0..u.arbitrary::<u8>()? % 3 {
                shape.insert(0, usize::from(u.arbitrary::<u8>()? % 4));
            }
            if shape.iter().product::<usize>() > max || shape.len() > 6 {
                return Ok(None);
            }
            (format!("broadcast_to {shape:?}"), x.broadcast_to(&shape), nd.broadcast_to(&shape))
        }
        4 => ("contiguous".into(), x.contiguous(), nd.clone()),
        5 if rank > 1 => {
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.swap(rank - 2, rank - 1);
            ("t".into(), x.t(), nd.permute(&axes))
        }
        _ => return Ok(None),
    }))
}

/// A shape with as many elements.
fn factors(u: &mut Unstructured<'_>, nd: &Nd) -> Result<Vec<usize>> {
    let mut shape = Vec::new();
    let mut left = nd.at.len();
    if left == 0 {
        let n = usize::from(u.arbitrary::<u8>()? % 4);
        return Ok([vec![0], vec![n; usize::from(u.arbitrary::<u8>()? % 3)]].concat());
    }
    for _ in 0..u.arbitrary::<u8>()? % 5 {
        let n = usize::from(u.arbitrary::<u8>()? % 4) + 1;
        if left % n == 0 {
            shape.push(n);
            left /= n;
        }
    }
    if left > 1 {
        shape.insert(usize::from(u.arbitrary::<u8>()?) % (shape.len() + 1), left);
    }
    Ok(shape)
}

/// Runs the chain which these bytes are: every shape and every element must be
/// that of index arithmetic, and the gradient must count how often each
/// element of the start was used.
pub fn check(bytes: &[u8]) {
    let _ = chain(&mut Unstructured::new(bytes));
}

fn chain(u: &mut Unstructured<'_>) -> Result<()> {
    let rank = usize::from(u.arbitrary::<u8>()? % 5);
    let dim = |_| Ok([2, 3, 1, 4, 5, 1, 2, 0][usize::from(u.arbitrary::<u8>()? % 8)]);
    let shape = (0..rank).map(dim).collect::<Result<Vec<usize>>>()?;
    let count: usize = shape.iter().product();
    let tape = Tape::new_f64();
    let data: Vec<f64> = (0..count).map(|i| i as f64).collect();
    let x = tape.input(&shape, &data).require_grad();
    // Nodes of a graph which is never looked at: positions in `x`.
    let start = Nd { graph: Graph::default(), shape: shape.clone(), at: (0..count).collect() };
    let mut all = vec![(x, start)];
    // The sum of everything which was made, each element by its own weight.
    let mut total = tape.scalar(0.0);
    let mut weights = vec![0.0; count];
    for step in 0..16 {
        if u.is_empty() {
            break;
        }
        let back = usize::from(u.arbitrary::<u8>()?) % all.len();
        let (y, nd) = all[all.len() - 1 - back].clone();
        let Some((what, y, nd)) = view(u, y, &nd, 2000)? else { continue };
        assert_eq!(y.shape(), nd.shape, "{what}");
        let values: Vec<f64> = nd.at.iter().map(|&i| i as f64).collect();
        assert_eq!(y.to_vec(), values, "{what}");
        if y.is_contiguous() {
            assert_eq!(y.as_slice(), values, "{what}");
        }
        // Together with what else fits: the sum of two views of one thing.
        let fits =
            |(_, b): &&(T<'_>, Nd)| broadcast(&nd.shape, &b.shape).is_some_and(|s| s.iter().product::<usize>() <= 2000);
        if let Some((z, b)) = all.iter().rev().find(fits) {
            let sum = y + *z;
            let shape = broadcast(&nd.shape, &b.shape).expect("fits");
            let (p, q) = (nd.broadcast_to(&shape), b.broadcast_to(&shape));
            let want: Vec<f64> = p.at.iter().zip(&q.at).map(|(&i, &j)| (i + j) as f64).collect();
            assert_eq!(sum.shape(), shape, "{what}");
            assert_eq!(sum.to_vec(), want, "{what}, added");
            let by = f64::from(step + 1);
            total = total + (sum * by).sum();
            p.at.iter().chain(&q.at).for_each(|&i| weights[i] += by);
        }
        all.push((y, nd));
    }
    if !total.requires_grad() {
        return Ok(());
    }
    let grads = total.backward();
    let plain = grads.get(x).map_or(vec![0.0; count], |g| g.as_slice().to_vec());
    assert_eq!(plain, weights, "plain gradient");
    let [recorded] = total.grad([x]);
    assert_eq!(recorded.shape(), shape);
    assert_eq!(recorded.to_vec(), weights, "recorded gradient");
    Ok(())
}
