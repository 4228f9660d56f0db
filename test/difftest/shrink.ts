// The shortest program that still differs (delta debugging): halves, quarters ... single operations are left out as long as a
// difference stays. Bodies of forks are shrunk in their place.

import { OP_FORK_RUN, type Op } from './program.ts';

/** An operation, with the body of a fork_run. */
interface Node {
  readonly op: Op;
  readonly body: readonly Node[];
}

function toTree(ops: readonly Op[]): Node[] {
  const nodes: Node[] = [];
  for (let i = 0; i < ops.length; i++) {
    const op = ops[i]!;
    const length = op.nr === OP_FORK_RUN ? (op.args[0] as number) : 0;
    nodes.push({ op, body: toTree(ops.slice(i + 1, i + 1 + length)) });
    i += length;
  }
  return nodes;
}

function toList(nodes: readonly Node[]): Op[] {
  return nodes.flatMap(({ op, body }) => {
    const inner = toList(body);
    return [op.nr === OP_FORK_RUN ? { nr: op.nr, args: [inner.length] } : op, ...inner];
  });
}

/** `differs` must be true of `ops`, whose arguments are all plain numbers. */
export function shrink(ops: readonly Op[], differs: (ops: readonly Op[]) => boolean): Op[] {
  let nodes = toTree(ops);
  for (let before = -1; before !== count(nodes); ) {
    before = count(nodes);
    nodes = shrinkList(nodes, (n) => differs(toList(n)));
    for (let i = 0; i < nodes.length; i++) {
      const outer = nodes;
      const withBody = (body: readonly Node[]): Node[] => outer.map((n, j) => (j === i ? { ...n, body } : n));
      const body = shrinkList([...outer[i]!.body], (b) => differs(toList(withBody(b))));
      nodes = withBody(body);
    }
  }
  return toList(nodes);
}

function count(nodes: readonly Node[]): number {
  return nodes.reduce((n, node) => n + 1 + count(node.body), 0);
}

function shrinkList(nodes: Node[], differs: (nodes: readonly Node[]) => boolean): Node[] {
  let size = nodes.length;
  while (size >= 1) {
    let i = 0;
    while (i < nodes.length) {
      const rest = [...nodes.slice(0, i), ...nodes.slice(i + size)];
      if (rest.length < nodes.length && differs(rest)) nodes = rest;
      else i += size;
    }
    size = Math.floor(size / 2);
  }
  return nodes;
}
