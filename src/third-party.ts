/** Third-party lists that the build embeds in the executable. */

/** The licenses with their texts, and the software bill of materials (CycloneDX, JSON); null when running from source. */
export const THIRD_PARTY: { readonly licenses: string; readonly sbom: string } | null = null;
