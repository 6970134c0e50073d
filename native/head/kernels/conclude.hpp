// From the statistics of all tiles to each row's loss, and to the factors of its gradient.
//
// With m the largest logit, at class k, s = Σ_{c≠k} exp(z_c - m) and P = Σ p_c:
//   loss = Σ_{p_c>0} p_c (m - z_c) + P · log1p(s)                every term is non-negative
//   gradient at c  P e_c / (1 + s) - p_c      at k  Σ_{c≠k} p_c - P s / (1 + s)
#pragma once

#include "survey.hpp"

namespace {

namespace head {

template <class A>
inline void conclude_row(const Rows<A>& rows, i64 i) {
  Statistics<A> all{A(0), -1, 0, 0, 0, 0};
  for (i64 group = 0; group < rows.groups; group++) merge(all, rows.statistics[group * rows.count + i]);
  double others = all.mass, leader_mass = all.leader_mass, dot = all.dot;
  for (i64 j = 0; j < rows.entries; j++) {
    const i64 at = i * rows.entries + j;
    const double p = entry_truth(rows, i, j);
    const bool leads = rows.entry_class[at] == all.leader;
    (leads ? leader_mass : others) += p;
    if (p > 0 && !leads) dot += p * exact_difference(double(all.top), double(rows.entry_logit[at]));
  }
  const double mass = others + leader_mass;
  const double s = all.top > -A(kInf) ? all.sum : __builtin_nan("");
  double q;
  const double log_part = log1p_and_inverse(s, q);
  const double lse = double(all.top) + log_part;
  const double weight = rows.row_weight != nullptr ? rows.row_weight[i] : 1.0;
  const double z_weight = rows.z_weight != nullptr ? rows.z_weight[i] : 1.0;
  const double z_term = rows.z_loss * z_weight == 0 ? 0.0 : rows.z_loss * z_weight * lse;
  const double truth = weight * rows.scale, pull = mass + 2.0 * z_term;
  // At the leader: from what is left to the others where that is less, and rounds less, than what is there.
  const double from_others = (others + 2.0 * z_term) - pull * (s * q);
  const double at_leader = truth * (mass * q + leader_mass < mass ? pull * q - leader_mass : from_others);
  rows.row[i] = {all.top, all.leader, truth * (pull * q), truth, at_leader, log_part};
  rows.loss[i] = weight * (dot + (mass == 0 && s == s ? 0.0 : mass * log_part) + (z_term == 0 ? 0.0 : z_term * lse));
  for (i64 j = 0; j < rows.entries; j++) {
    const i64 at = i * rows.entries + j;
    const double spread = has_spread_truth(rows) ? spread_truth(rows, i, rows.entry_class[at]) : 0.0;
    const double p = entry_truth(rows, i, j) + spread;
    const double e = exp_of_difference(double(rows.entry_logit[at]), double(all.top));
    rows.entry_grad[at] = truth * (pull * (e * q) - p);
  }
}

template <class A>
void conclude(const Rows<A>& rows, i64 begin, i64 end) {
  for (i64 i = begin; i < end; i++) conclude_row(rows, i);
}

}  // namespace head

}  // namespace
