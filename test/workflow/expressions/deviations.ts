/** Where expressions differ from what the conformance tests of CEL demand; the manual has the same list. It may only shrink. */
export const DEVIATIONS: readonly {
  readonly reason: string;
  readonly tests: RegExp;
  readonly count: number;
}[] = [
  {
    reason:
      "Names, functions and types are always checked before anything is evaluated, also where the other side of || or && decides.",
    tests:
      /^(basic\/(variables|functions)\/unbound_is_runtime_error|comparisons\/eq_literal\/not_eq_list_length|logic\/conditional\/mixed_type|logic\/(AND|OR)\/short_circuit_type_(left|right)|parse\/receiver_function_names\/)/,
    count: 25,
  },
  {
    reason: "A whole number and a double are compared exactly, not after the whole number was rounded.",
    tests: /^comparisons\/\w+_literal\/\w*(big_lossy_double|big_double_int)$/,
    count: 4,
  },
  {
    reason:
      "Bytes in a literal are those of its characters up to U+00FF, not their UTF-8; literals of raw bytes do not exist.",
    tests:
      /^(basic\/self_eval_nonzeroish\/self_eval_bytes_escape|comparisons\/(eq|ne)_literal\/(not_ne|eq)_bytes|parse\/bytes_literals\/)/,
    count: 11,
  },
  {
    reason: "A number starts with a digit: 0.99, not .99.",
    tests: /^comparisons\/gt_literal\/not_gt_double$/,
    count: 1,
  },
  {
    reason: 'Names in backticks do not exist: write map["a-b"].',
    tests: /^fields\/quoted_map_fields\//,
    count: 6,
  },
  {
    reason: "At most 32 levels of nesting.",
    tests: /^parse\/nest\/parens$/,
    count: 1,
  },
];
