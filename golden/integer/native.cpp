// Elementwise steps of the integer network in one pass over memory each; see native.py.
//
// Every function computes the formula of golden/<block>.py. Where it does so in double, every value is an
// integer times a power of two with 53 bits at most: nothing is rounded, in whatever order or fusion the
// compiler multiplies and adds.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

int bit_length(int64_t v) { return v ? 64 - __builtin_clzll(static_cast<uint64_t>(v)) : 0; }
int64_t half(int n) { return n ? int64_t{1} << (n - 1) : 0; }
int64_t clamp(int64_t v, int64_t low, int64_t high) { return std::min(std::max(v, low), high); }
double limit(double v, double low, double high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

struct Constants {
  std::vector<int64_t> slope, offset;
  std::vector<int> shift;
};

// 1/sqrt(V) ~ r * 2**-(16 + e)
void rsqrt(int64_t V, const int64_t* seeds, int64_t& r, int& e) {
  e = (bit_length(V) - 1) >> 1;
  const int64_t v = (V << std::max(30 - 2 * e, 0)) >> std::max(2 * e - 30, 0);
  const int64_t y = seeds[(v >> 25) - 32];
  const int64_t newton = (int64_t{3} << 30) - ((v * (y * y >> 16)) >> 16);
  r = std::min<int64_t>(((y * newton >> 14) + (1 << 16)) >> 17, 1 << 16);
}

// Slope, offset (index offset and half included) and shift of every channel of one image.
void channel_constants(const int16_t* x, int64_t pixels, int channels, int groups, const int64_t* gamma,
                       const int64_t* beta, int64_t E, const int64_t* seeds, Constants& out) {
  std::vector<int32_t> partial(channels);
  std::vector<int64_t> s1(channels, 0), s2(channels, 0);
  for (int64_t first = 0; first < pixels; first += 1 << 15) {  // 2**15 * 2**15 stays in 32 bits
    std::fill(partial.begin(), partial.end(), 0);
    const int64_t last = std::min<int64_t>(first + (1 << 15), pixels);
    for (int64_t p = first; p < last; p++)
      for (int c = 0; c < channels; c++) {
        const int32_t value = x[p * channels + c];
        partial[c] += value;
        s2[c] += static_cast<uint32_t>(value * value);
      }
    for (int c = 0; c < channels; c++) s1[c] += partial[c];
  }
  const int repeat = channels / groups;
  const int64_t elements = pixels * repeat;
  for (int g = 0; g < groups; g++) {
    int64_t S1 = 0, S2 = 0, r;
    int e;
    for (int c = g * repeat; c < (g + 1) * repeat; c++) S1 += s1[c], S2 += s2[c];
    rsqrt(elements * S2 - S1 * S1 + E, seeds, r, e);
    for (int c = g * repeat; c < (g + 1) * repeat; c++) {
      const int64_t slope = gamma[c] * r * elements;
      const int k = std::max(bit_length(std::abs(slope)) - 15, 0), F = 27 + e - k, n = F - 7;
      const int64_t Am = (slope + half(k)) >> k, numerator = elements / 2 - S1 * Am;
      const int64_t quotient = numerator / elements;
      const int64_t mean = quotient - (numerator - quotient * elements < 0);
      const int64_t B = mean + (F >= 11 ? beta[c] * (int64_t{1} << (F - 11)) : beta[c] >> (11 - F));
      out.slope[c] = Am;
      out.offset[c] = B + (int64_t{2048} << n) + half(n);
      out.shift[c] = n;
    }
  }
}

void normalize(const int16_t* x, const float* table, float* out, int64_t pixels, int channels,
               const Constants& k, bool floats) {
  if (!floats) {
    for (int64_t p = 0; p < pixels; p++)
      for (int c = 0; c < channels; c++) {
        const int64_t at = p * channels + c;
        out[at] = table[clamp((x[at] * k.slope[c] + k.offset[c]) >> k.shift[c], 0, 4095)];
      }
    return;
  }
  std::vector<double> slope(channels), offset(channels);
  for (int c = 0; c < channels; c++) {
    slope[c] = std::ldexp(static_cast<double>(k.slope[c]), -k.shift[c]);
    offset[c] = std::ldexp(static_cast<double>(k.offset[c]), -k.shift[c]);
  }
  const double *a = slope.data(), *b = offset.data();
  for (int64_t p = 0; p < pixels; p++) {
    const int16_t* row = x + p * channels;
    float* to = out + p * channels;
    for (int c = 0; c < channels; c++)
      to[c] = table[static_cast<int>(limit(row[c] * a[c] + b[c], 0.0, 4095.0))];
  }
}

}  // namespace

extern "C" {

// GroupNorm of (images, pixels, channels), and of each u + 2048 the operand in `table`. `floats`: in double.
void group_norm(const int16_t* x, const float* table, float* out, int64_t images, int64_t pixels,
                int32_t channels, int32_t groups, const int64_t* gamma, const int64_t* beta, int64_t E,
                const int64_t* seeds, int32_t floats) {
  Constants k{std::vector<int64_t>(channels), std::vector<int64_t>(channels), std::vector<int>(channels)};
  for (int64_t i = 0; i < images; i++) {
    const int64_t at = i * pixels * channels;
    channel_constants(x + at, pixels, channels, groups, gamma, beta, E, seeds, k);
    normalize(x + at, table, out + at, pixels, channels, k, floats);
  }
}

// Operands of (pixels, channels): sat(rsh(x*M, n)) * step; scale = M * 2**-n, a half where n > 0.
void edge(const int16_t* x, float* out, int64_t pixels, int32_t channels, const double* scale,
          const double* added, const double* step, double top) {
  for (int64_t p = 0; p < pixels; p++)
    for (int32_t c = 0; c < channels; c++) {
      const int64_t at = p * channels + c;
      const double v = std::floor(x[at] * scale[c] + added[c]);
      out[at] = static_cast<float>(limit(v, -top, top - 1) * step[c]);
    }
}

// sat(rsh(acc*M, n) + b) of the sum of `parts` products, (images, pixels, channels) each. `joined`: b and
// the half in one, else b apart. Then sat16(residual + that) where there is one. `kind`: 0 int16, 1 float.
void requantize(const float* const* products, int32_t parts, void* out, int32_t kind, const int16_t* residual,
                int64_t images, int64_t pixels, int32_t channels, const double* scale, const double* bias,
                int64_t bias_stride, int32_t joined, double top) {
  std::vector<double> added(channels), after(channels);
  for (int64_t i = 0; i < images; i++) {
    for (int32_t c = 0; c < channels; c++) {
      const double b = bias[i * bias_stride + c];
      added[c] = joined ? b + 0.5 : 0.5;
      after[c] = joined ? 0.0 : b;
    }
    for (int64_t p = i * pixels; p < (i + 1) * pixels; p++) {
      const float* first = products[0] + p * channels;
      auto result = [&](int32_t c, double acc) {
        return limit(std::floor(acc * scale[c] + added[c]) + after[c], -top, top - 1);
      };
      if (parts > 1) {
        for (int32_t c = 0; c < channels; c++) {
          double acc = first[c];
          for (int32_t k = 1; k < parts; k++) acc += products[k][p * channels + c];
          const double v = result(c, acc);
          const int64_t at = p * channels + c;
          if (kind) static_cast<float*>(out)[at] = static_cast<float>(v);
          else static_cast<int16_t*>(out)[at] =
              static_cast<int16_t>(residual ? limit(v + residual[at], -32768.0, 32767.0) : v);
        }
      } else if (kind) {
        float* to = static_cast<float*>(out) + p * channels;
        for (int32_t c = 0; c < channels; c++) to[c] = static_cast<float>(result(c, first[c]));
      } else if (residual) {
        const int16_t* around = residual + p * channels;
        int16_t* to = static_cast<int16_t*>(out) + p * channels;
        for (int32_t c = 0; c < channels; c++)
          to[c] = static_cast<int16_t>(static_cast<int32_t>(
              limit(result(c, first[c]) + around[c], -32768.0, 32767.0)));
      } else {
        int16_t* to = static_cast<int16_t*>(out) + p * channels;
        for (int32_t c = 0; c < channels; c++)
          to[c] = static_cast<int16_t>(static_cast<int32_t>(result(c, first[c])));
      }
    }
  }
}

// Numerators, in place of the scores of whole rows, and their sums.
void numerators(float* scores, int64_t rows, int64_t length, double scale, double added, const float* table,
                int64_t* sums) {
  for (int64_t i = 0; i < rows; i++) {
    float* row = scores + i * length;
    float most = -32768.0f;
    for (int64_t j = 0; j < length; j++) {
      row[j] = static_cast<float>(limit(std::floor(row[j] * scale + added), -32768.0, 32767.0));
      most = row[j] > most ? row[j] : most;
    }
    int32_t sum = 0;
    for (int64_t j = 0; j < length; j++) {
      const float away = most - row[j];
      row[j] = table[static_cast<int>(away > 511.0f ? 511.0f : away)];
      sum += static_cast<int32_t>(row[j]);
    }
    sums[i] = sum;
  }
}

// int8 values of rows of `depth`, in place: sat8(rsh(total * P, n)) with P and n of the row's sum.
void divide(float* totals, int64_t rows, int64_t depth, const int64_t* sums, int64_t multiplier,
            int64_t shift) {
  for (int64_t i = 0; i < rows; i++) {
    const int w = bit_length(sums[i]), n = w + static_cast<int>(shift) - 1;
    const int64_t R = std::min<int64_t>((int64_t{1} << (15 + w)) / sums[i], 65535);
    const int64_t P = (R * multiplier + (1 << 15)) >> 16;
    const double scale = std::ldexp(static_cast<double>(P), -n), added = n ? 0.5 : 0.0;
    float* row = totals + i * depth;
    for (int64_t j = 0; j < depth; j++)
      row[j] = static_cast<float>(limit(std::floor(row[j] * scale + added), -128.0, 127.0));
  }
}
}
