/** What the executable carries, put into it by the build. */

/** The licenses with their texts, and the software bill of materials (CycloneDX, JSON); null when it runs from its sources. */
export const THIRD_PARTY: { readonly licenses: string; readonly sbom: string } | null = null;
