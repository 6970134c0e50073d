// From a row's three numbers to its loss and the factors of its gradient, for several rows at a time.
//
// With y the label, M the largest of the other logits or near it, S = Σ_{c≠y} exp(z_c - M) and D = M - z_y:
//   odds against y  o = exp(D) · S      loss = log1p(o)      gradient at y  -o / (1 + o)      at c  e_c · exp(D) / (1 +
//   o)
// which is softplus(t), -σ(t), σ(t) · r_c of t = D + log S, without the rounding of a logarithm that is undone again.
// Nothing is subtracted from 1, so nothing is lost on confident rows. For D > 0 everything is divided by exp(D).
#pragma once

#include "exp_log.hpp"

namespace {

constexpr int kTile = 16;  // rows whose numbers are worked out together

struct LabelScalars {
  // in
  double target_logit[kTile], reference[kTile];      // z_y; M
  double difference[kTile], difference_rest[kTile];  // D, rounded, and what it lacks
  double sum[kTile];                                 // S
  double weight[kTile];                              // of the loss
  // out
  double loss[kTile];           // weighted
  double others_factor[kTile];  // gradient at c: e_c · this
  double target_grad[kTile];    // gradient at y, where it is not formed as minus the sum of the others
  double target_z[kTile];       // what z-loss adds to the gradient at y
};

template <bool with_z_loss>
inline void eight_label_scalars(LabelScalars& s, int first, double scale, double z_loss) {
#pragma omp simd
  for (int i = first; i < first + 8; i++) {
    const double d = s.difference[i];
    const double sum = s.sum[i];
    const bool target_leads = d <= 0;
    // E = exp(-|D|) as 2^n · (1 + p): its product with S is rounded once even where it is subnormal.
    const double down = -absolute(d);
    const double rest = target_leads ? s.difference_rest[i] : -s.difference_rest[i];
    double p;
    i64 n;
    const bool far = down < -1400.0;
    ExpDouble::parts(far ? -1400.0 : down, far ? 0.0 : rest, p, n);
    const double e = scale_by_power(1.0 + p, n);
    const double odds = scale_by_power(sum * p + sum, n);
    const double above_one = target_leads ? odds : (sum - 1.0) + e;
    double inverse;
    const double log_part = log1p_and_inverse(above_one, inverse);
    const double row_loss = target_leads ? log_part : d + (log_part + s.difference_rest[i]);
    const double w = s.weight[i] * scale;
    const double others = w * ((target_leads ? e : 1.0) * inverse);
    const double against = -w * ((target_leads ? odds : sum) * inverse);
    s.target_grad[i] = against;
    if constexpr (with_z_loss) {
      const double lse = (target_leads ? s.target_logit[i] : s.reference[i]) + log_part;
      const double z_term = z_loss * lse;
      s.loss[i] = s.weight[i] * (row_loss + z_term * lse);
      s.others_factor[i] = others * (1.0 + 2.0 * z_term);
      s.target_z[i] = w * 2.0 * z_term * ((target_leads ? 1.0 : e) * inverse);
    } else {
      s.loss[i] = s.weight[i] * row_loss;
      s.others_factor[i] = others;
      s.target_z[i] = 0;
    }
  }
}

// Works out the first `count` rows; it may go on with up to seven more.
inline void label_scalars(LabelScalars& s, int count, double scale, double z_loss) {
  for (int first = 0; first < count; first += 8)
    z_loss == 0 ? eight_label_scalars<false>(s, first, scale, z_loss)
                : eight_label_scalars<true>(s, first, scale, z_loss);
}

// A gradient factor for exponentials that are raised: their product with `factor`, and that with `power`. Where the
// factor is small, it is the product that is lowered, as the factor might become subnormal. Either way the last
// multiplication is by a power of 2 and thus exact: it may be fused with an addition after it, and a sum is still that
// of the entries as they are stored.
template <class A>
struct LoweringFactor {
  static constexpr double tiny = sizeof(A) == 4 ? 0x1p-120 : 0x1p-1016;  // below, an entry's rounding is not relative
  A factor, power;

  explicit LoweringFactor(double exact)
      : factor(A(absolute(exact) <= 1 ? exact : exact * ExpOf<A>::lower)),
        power(absolute(exact) <= 1 ? ExpOf<A>::lower : A(1)) {}
};

}  // namespace
