import type { NextConfig } from "next";

const config: NextConfig = { experimental: { serverActions: { bodySizeLimit: "100mb" } } };

export default config;
