"""Hyper-parameters of A2C for RL Zoo, for every `RSS/` id at its default scales.

    python -m rl_zoo3.train --algo a2c --env RSS/Shapes-ImageReward-v0 \
        --gym-packages rss_env --conf-file examples/rl_zoo/a2c.py

Data sets take their arguments from `--env-kwargs`, such as `root:"'/data/voc'"`. Neighbouring
sub-environments show the same image in groups of 8, whose maps are compared with one another.
"""

from rss_agents.sb3 import MapRolloutBuffer

GROUP_SIZE = 8

hyperparams = {
    "default": {
        "n_timesteps": 38_400,
        "n_envs": 64,
        "vec_env_wrapper": [{"rss_agents.sb3.vec_env.as_one": {"group_size": GROUP_SIZE}}],
        "policy": "rss_agents.sb3.policy.MapActorCriticPolicy",
        "rollout_buffer_class": MapRolloutBuffer,
        "rollout_buffer_kwargs": {"group_size": GROUP_SIZE},
        "n_steps": 1,
        "use_rms_prop": False,
        "normalize_advantage": True,
        "ent_coef": 0.02,
        "learning_rate": "lin_0.003",
        "gamma": 0.0,
    }
}
