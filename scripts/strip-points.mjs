// @ts-check
/**
 * Copies compiled modules with the preemption points taken out, to measure what they cost when they are off. Every read of
 * `….points` becomes false and the code around it is simplified by syntax:
 *
 *   if (k.sched.points) yield P;                            removed
 *   if (k.sched.points || !lock.tryRead()) yield* …;        if (!lock.tryRead()) yield* …;
 *   k.sched.points ? strideOn : strideOff                   strideOff
 *
 * Usage: node scripts/strip-points.mjs DIST TARGET. Throws if any site that was found could not be removed.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const { factory } = ts;

/** @typedef {{ sites: number, yields: number, locks: number, others: number }} Stripped */

/** Is it a read of the scheduler's switch? @param {ts.Node} node */
function isPoints(node) {
  if (!ts.isPropertyAccessExpression(node) || node.name.text !== 'points') return false;
  const parent = node.parent;
  return !(
    parent &&
    ts.isBinaryExpression(parent) &&
    parent.left === node &&
    parent.operatorToken.kind === ts.SyntaxKind.EqualsToken
  );
}

/** @param {ts.Node} node */
const isFalse = (node) => node.kind === ts.SyntaxKind.FalseKeyword;

/** @param {ts.Node} node @param {ts.SyntaxKind} operator @returns {node is ts.BinaryExpression} */
const isBinary = (node, operator) => ts.isBinaryExpression(node) && node.operatorToken.kind === operator;

/** What an expression is worth once its parts are known. @param {ts.Node} node */
function simplified(node) {
  if (ts.isParenthesizedExpression(node) && isFalse(node.expression)) return node.expression;
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken && isFalse(node.operand))
    return factory.createTrue();
  if (isBinary(node, ts.SyntaxKind.BarBarToken) && isFalse(node.left)) return node.right;
  // What stands before && must be free of effects: a call would be lost.
  if (isBinary(node, ts.SyntaxKind.AmpersandAmpersandToken)) {
    if (isFalse(node.left)) return node.left;
    if (node.left.kind === ts.SyntaxKind.TrueKeyword) return node.right;
    if (isFalse(node.right) && !hasCall(node.left)) return node.right;
  }
  if (ts.isConditionalExpression(node) && isFalse(node.condition)) return node.whenFalse;
  if (ts.isIfStatement(node) && isFalse(node.expression)) return node.elseStatement ?? factory.createEmptyStatement();
  return node;
}

/** @param {ts.Node} node @returns {boolean} */
function hasCall(node) {
  return ts.isCallExpression(node) || ts.isYieldExpression(node) || (ts.forEachChild(node, hasCall) ?? false);
}

/** @param {string} text a module @param {string} name @returns {{ text: string, counts: Stripped }} */
export function stripModule(text, name) {
  const counts = { sites: 0, yields: 0, locks: 0, others: 0 };
  const source = ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true, ts.ScriptKind.JS);
  /** @param {ts.Node} node */
  const countKind = (node) => {
    const parent = node.parent;
    if (ts.isIfStatement(parent)) counts.yields++;
    else if (isBinary(parent, ts.SyntaxKind.BarBarToken)) counts.locks++;
    else counts.others++;
  };
  /** @type {ts.TransformerFactory<ts.SourceFile>} */
  const transformer = (context) => (file) => {
    /** @param {ts.Node} node @returns {ts.Node} */
    const visit = (node) => {
      if (isPoints(node)) {
        counts.sites++;
        countKind(node);
        return factory.createFalse();
      }
      return simplified(ts.visitEachChild(node, visit, context));
    };
    return /** @type {ts.SourceFile} */ (ts.visitEachChild(file, visit, context));
  };
  if (!/\.points\b/.test(text)) return { text, counts };
  const result = ts.transform(source, [transformer]);
  const out = ts.createPrinter().printFile(/** @type {ts.SourceFile} */ (result.transformed[0]));
  result.dispose();
  const left = readsOf(out, name);
  if (left > 0) throw new Error(`${name}: ${left} of ${counts.sites} points left`);
  if (constantConditions(out, name) > constantConditions(text, name))
    throw new Error(`${name}: a point left its condition behind`);
  return { text: out, counts };
}

/** Reads of the switch in a module, counted anew. @param {string} text @param {string} name */
function readsOf(text, name) {
  let count = 0;
  /** @param {ts.Node} node */
  const visit = (node) => {
    if (isPoints(node)) count++;
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true, ts.ScriptKind.JS));
  return count;
}

/** Conditions that are the literal true or false. @param {string} text @param {string} name */
function constantConditions(text, name) {
  let count = 0;
  /** @param {ts.Node} node */
  const isLiteral = (node) => isFalse(node) || node.kind === ts.SyntaxKind.TrueKeyword;
  /** @param {ts.Node} node */
  const visit = (node) => {
    if (ts.isIfStatement(node) && isLiteral(node.expression)) count++;
    if (ts.isConditionalExpression(node) && isLiteral(node.condition)) count++;
    if (ts.isPrefixUnaryExpression(node) && isLiteral(node.operand)) count++;
    if (ts.isBinaryExpression(node) && isLiteral(node.left)) count++;
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true, ts.ScriptKind.JS));
  return count;
}

/** @param {string} dir @returns {string[]} */
function modules(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name);
    return e.isDirectory() ? modules(path) : e.name.endsWith('.js') ? [path] : [];
  });
}

/** @param {string} dist @param {string} target @returns {Stripped} */
export function stripPoints(dist, target) {
  const total = { sites: 0, yields: 0, locks: 0, others: 0 };
  let found = 0;
  for (const path of modules(dist)) {
    const text = readFileSync(path, 'utf8');
    found += readsOf(text, path);
    const stripped = stripModule(text, path);
    for (const key of /** @type {(keyof Stripped)[]} */ (Object.keys(total))) total[key] += stripped.counts[key];
    const out = join(target, relative(dist, path));
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, stripped.text);
  }
  if (found !== total.sites || found === 0) throw new Error(`${found} points found, ${total.sites} removed`);
  cpSync(join(dirname(fileURLToPath(import.meta.url)), '../package.json'), join(target, 'package.json'));
  return total;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dist, target] = process.argv.slice(2);
  if (!dist || !target) {
    process.stderr.write('usage: node scripts/strip-points.mjs DIST TARGET\n');
    process.exitCode = 2;
  } else console.log(JSON.stringify(stripPoints(dist, target)));
}
