"""A four-step student, as such a config is written there."""

import fastgen.configs.methods.config_dmd2 as config_dmd2_default
from fastgen.configs.discriminator import Discriminator_Wan_1_3B_Config
from fastgen.configs.net import Wan_1_3B_Config, Wan_14B_Config


def create_config():
    config = config_dmd2_default.create_config()
    config.trainer.max_iter = 6001
    config.trainer.logging_iter = 100
    config.trainer.save_ckpt_iter = 500
    config.trainer.batch_size_global = 64
    config.model.net_optimizer.lr = 5e-6
    config.model.fake_score_optimizer.lr = 1e-5
    config.model.discriminator_optimizer.lr = 1e-5
    config.model.precision = "bfloat16"
    config.model.input_shape = [16, 21, 60, 104]
    config.model.net = Wan_1_3B_Config
    config.model.teacher = Wan_14B_Config
    config.model.discriminator = Discriminator_Wan_1_3B_Config
    config.model.gan_loss_weight_gen = 0.03
    config.model.fake_score_pred_type = "x0"
    config.model.student_sample_type = "ode"
    config.model.student_sample_steps = 4
    config.model.student_update_freq = 5
    config.model.guidance_scale = 5.0
    config.model.sample_t_cfg.time_dist_type = "shifted"
    config.model.sample_t_cfg.min_t = 0.001
    config.model.sample_t_cfg.max_t = 0.999
    config.model.sample_t_cfg.t_list = [0.999, 0.937, 0.833, 0.624, 0.0]
    config.dataloader_train.batch_size = 2
    config.log_config.group = "wan_dmd2"
    return config
