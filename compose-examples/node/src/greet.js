/** Greets somebody by name; nobody in particular without one. */
export function greet(name) {
  const known = name?.trim();
  return `Hello, ${known || "whoever you are"}!`;
}
