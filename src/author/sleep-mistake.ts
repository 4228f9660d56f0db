// The commonest mistake of type, said in the author's words. A step that sleeps in a callback that may not makes the compiler complain
// about all of create(hw), eleven types deep; what the author needs is the step.

import ts from 'typescript';

export interface Sleep {
  readonly callback: string;
  /** The step, as the author wrote it. */
  readonly step: string;
  readonly node: ts.Node;
}

const SLEEP = /'SleepPoint' is not assignable to type 'AtomicPoint'/;
const CALLBACK = /The types returned by '(\w+)\(\.\.\.\)' are incompatible/;

/** The step that sleeps, when that is what the complaint is about; null otherwise. */
export function sleepOf(d: ts.Diagnostic, text: string, checker: ts.TypeChecker): Sleep | null {
  if (d.file === undefined || !SLEEP.test(text)) return null;
  // The complaint is about the callback itself, or about something around it and names it.
  const said = CALLBACK.exec(text)?.[1];
  const named = said === 'next' ? undefined : said;
  const isIt = (n: ts.Node): n is Callback =>
    isCallback(n) &&
    (named === undefined
      ? n.name.getStart() === d.start
      : n.name.getText() === named && n.getStart() >= (d.start ?? 0));
  const method = find(d.file, isIt);
  if (method === null) return null;
  const step = find(method, (n): n is ts.YieldExpression => ts.isYieldExpression(n) && isSleep(n.expression, checker));
  if (step === null) return null;
  const node = step.expression!;
  return { callback: method.name.getText(), step: node.getText().split('\n')[0]!, node };
}

type Callback = ts.MethodDeclaration | ts.PropertyAssignment;

function isCallback(n: ts.Node): n is Callback {
  return ts.isMethodDeclaration(n) || ts.isPropertyAssignment(n);
}

function isSleep(expression: ts.Expression | undefined, checker: ts.TypeChecker): boolean {
  if (expression === undefined) return false;
  return /SleepPoint|KernelPath/.test(checker.typeToString(checker.getTypeAtLocation(expression)));
}

/** The first node, in the order of the text, that passes. */
function find<N extends ts.Node>(root: ts.Node, passes: (n: ts.Node) => n is N): N | null {
  if (passes(root)) return root;
  let found: N | null = null;
  ts.forEachChild(root, (child) => {
    found ??= find(child, passes);
  });
  return found;
}
