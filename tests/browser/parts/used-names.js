// The names that a script uses of its surroundings: every global, and every property that it reads. Found in its text,
// so that none is forgotten.

import { parse } from "acorn";

/** All names that are not the script's own; which of them a browser defines, the browser knows. */
export function usedNames(source) {
  const used = new Set();
  walk(parse(source, { ecmaVersion: 2019 }), (node, parent, key) => {
    if (node.type === "MemberExpression" && !node.computed) used.add(node.property.name);
    if (node.type === "Property" && parent.type === "ObjectPattern" && !node.computed) used.add(node.key.name);
    if (node.type === "Identifier" && !isName(parent, key)) used.add(node.name);
  });
  return [...used].filter(Boolean).sort();
}

/** The newest edition of the language that this text needs, as acorn counts it. */
export function parsesAs(source, ecmaVersion) {
  parse(source, { ecmaVersion });
}

const isName = (parent, key) =>
  (parent.type === "MemberExpression" && key === "property" && !parent.computed) ||
  (["Property", "MethodDefinition"].includes(parent.type) && key === "key" && !parent.computed);

function walk(node, visit, parent = {}, key = "") {
  visit(node, parent, key);
  for (const [name, child] of Object.entries(node)) {
    for (const one of [child].flat()) if (one?.type) walk(one, visit, node, name);
  }
}
